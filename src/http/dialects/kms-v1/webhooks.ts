import { Type } from '@sinclair/typebox';
import { ok } from '../../../core/result.ts';
import { publishedTypes } from '../../../events/published-events.ts';
import type { Operation } from '../../../operations/operation.ts';
import type { AddWebhookRequest, RemoveWebhookRequest } from '../../../operations/receipts/webhooks.ts';
import type { MadeWebhook, Webhook, WebhookView } from '../../../webhooks/webhook.ts';
import type { Endpoint } from '../../dialect.ts';
import { approvedRequestSha256, closed, optionalBody, shapeOf } from '../../json-requests.ts';
import { approvalOf } from './approvals.ts';
import { approvalText, namedPlace, placed, read, readQuery, timeText } from './schemas.ts';

export const addWebhookBody = placed({
  url: Type.String({ minLength: 1, maxLength: 2_048 }),
  event_types: Type.Optional(
    Type.Array(Type.Union(publishedTypes.map((type) => Type.Literal(type))), {
      ...{ minItems: 1, maxItems: publishedTypes.length, uniqueItems: true },
    }),
  ),
  approval_token: Type.Optional(approvalText),
});

/** POST /webhooks. The secret is in this answer alone. */
export function addWebhookEndpoint(
  operation: Operation<AddWebhookRequest, MadeWebhook>,
): Endpoint<AddWebhookRequest, MadeWebhook> {
  return {
    operation,
    parse: read(shapeOf(addWebhookBody), (body, request) => {
      const approval = approvalOf(body, request);
      if (!approval.ok) return approval;
      const { url, event_types: types } = body;
      const requestSha256 = approvedRequestSha256({ ...body });
      return ok({ ...namedPlace(body), url, types, approval: approval.value, requestSha256 });
    }),
    present: (made) => ({ status: 201, body: { ...presentWebhook(made), secret: made.secret } }),
  };
}

/** GET /webhooks */
export function listWebhooksEndpoint(
  operation: Operation<void, readonly WebhookView[]>,
): Endpoint<void, readonly WebhookView[]> {
  return {
    operation,
    parse: readQuery(shapeOf(closed({})), () => ok(undefined)),
    present: (webhooks) => ({ status: 200, body: { webhooks: webhooks.map(presentView) } }),
  };
}

/** Nothing, or what other bodies have; the agreement may stand in the header alone. */
export const removeWebhookBody = Type.Union([
  closed({ approval_token: Type.Optional(approvalText) }),
  placed({ approval_token: Type.Optional(approvalText) }),
]);

/** DELETE /webhooks/{webhook_id} */
export function removeWebhookEndpoint(
  operation: Operation<RemoveWebhookRequest, Webhook>,
): Endpoint<RemoveWebhookRequest, Webhook> {
  return {
    operation,
    parse: read(optionalBody(shapeOf(removeWebhookBody)), (body, request) => {
      const approval = approvalOf(body, request);
      if (!approval.ok) return approval;
      const place = 'tenant_id' in body ? namedPlace(body) : undefined;
      return ok({ webhookId: request.named ?? '', approval: approval.value, place });
    }),
    present: ({ id }) => ({ status: 200, body: { webhook_id: id, removed: true } }),
  };
}

function presentWebhook({ id, tenant, environment, plane, url, types, createdAtMs }: Webhook) {
  return {
    ...{ webhook_id: id, tenant_id: tenant, environment, plane, url, event_types: types },
    created_at: timeText(createdAtMs),
  };
}

function presentView({ state, ...webhook }: WebhookView) {
  const { attempts, givenUp, disabled } = state;
  return {
    ...presentWebhook(webhook),
    delivery: { failed_attempts: attempts, given_up: givenUp, disabled },
  };
}

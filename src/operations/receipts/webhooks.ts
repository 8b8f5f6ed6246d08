import { createHash, randomUUID } from 'node:crypto';
import type { AuditEvent, AuditRecorder } from '../../audit/audit-log.ts';
import { type Approvals, approvableOperations } from '../../core/approvals.ts';
import type { FailureCode } from '../../core/failure.ts';
import { ok, type Refused, type Result, refuse } from '../../core/result.ts';
import { type Caller, isOfPlace } from '../../core/scope.ts';
import { type PublishedType, publishedTypes } from '../../events/published-events.ts';
import type { MadeWebhook, Webhook, Webhooks, WebhookView } from '../../webhooks/webhook.ts';
import type { KeyOperation } from '../operation.ts';

export interface WebhookParts {
  /** Undefined where no log is kept, from which events are sent. */
  readonly webhooks: Webhooks | undefined;
  /** Undefined: nobody can agree to anything, so that changes are refused. */
  readonly approvals: Approvals | undefined;
  readonly recorder: Pick<AuditRecorder, 'reserve' | 'append'>;
}

interface WebhookCall {
  readonly tenant: string;
  readonly environment: string;
  readonly plane: string;
}

export interface AddWebhookRequest extends WebhookCall {
  readonly url: string;
  /** All where it is undefined; else at least one. */
  readonly types: readonly PublishedType[] | undefined;
  readonly approval: string | undefined;
  /** SHA-256, in hex, of the request's RFC 8785 JSON without the agreement, which names it. */
  readonly requestSha256: string;
}

export interface RemoveWebhookRequest {
  /** The place that the call names, which has to be the caller's and the webhook's; undefined where it names none. */
  readonly place?: WebhookCall | undefined;
  /** UUID, any case. */
  readonly webhookId: string;
  readonly approval: string | undefined;
}

const noWebhooks = refuse('Unsupported', 'this service keeps no audit log, from which events are sent');
const otherTenant = refuse('NoCapability', 'the caller is of another tenant');
const otherPlace = refuse('NoCapability', 'the caller is not of this environment and plane');
const noTypes = refuse('BadRequest', `event_types: at least one of ${publishedTypes.join(', ')}`);

function isAt({ environment, plane }: Webhook, place: WebhookCall | undefined): boolean {
  return place === undefined || (place.environment === environment && place.plane === plane);
}

/** Events of a place are sent to a URL from now on. Its secret is told once. */
export function addWebhookOperation(parts: WebhookParts): KeyOperation<AddWebhookRequest, MadeWebhook> {
  return {
    ...{ kind: 'keys', ...approvableOperations.webhook },
    receipt: (request, _, made) => ({
      ...{ environment: request?.environment, plane: request?.plane, keyId: made?.id },
    }),
    async run({ requestSha256, approval, ...request }, caller) {
      const { webhooks } = parts;
      if (webhooks === undefined) return noWebhooks;
      const { tenant, environment, plane, url, types = publishedTypes } = request;
      if (tenant !== caller.tenant) return otherTenant;
      if (!isOfPlace(caller, request)) return otherPlace;
      if (types.length === 0) return noTypes;
      const { name: operation } = approvableOperations.webhook;
      let failed = (_: FailureCode) => {};
      const wanted = { tenant, environment, plane, url, types: [...new Set(types)] };
      const made = await webhooks.add(wanted, async (webhook) => {
        const change = { operation, requestSha256 };
        const begun = await begin(parts, { type: 'webhook.added', approval, change, caller, webhook });
        if (begun.ok) failed = begun.value.failed;
        return begun.ok ? ok(undefined) : begun;
      });
      if (!made.ok) failed(made.failure.code);
      return made;
    },
  };
}

/** The webhooks of the caller's tenant, environments and planes, without their secrets. */
export function listWebhooksOperation({
  webhooks,
}: WebhookParts): KeyOperation<void, readonly WebhookView[]> {
  return {
    ...{ kind: 'keys', name: 'webhook_list', scope: 'kms:admin', receipt: () => ({}) },
    run: (_, caller) =>
      webhooks === undefined
        ? noWebhooks
        : ok(webhooks.list(caller.tenant).filter((webhook) => isOfPlace(caller, webhook))),
  };
}

/** Nothing more is sent. */
export function removeWebhookOperation(parts: WebhookParts): KeyOperation<RemoveWebhookRequest, Webhook> {
  return {
    ...{ kind: 'keys', ...approvableOperations.webhook_remove },
    receipt: (request, caller) => {
      const found = request && parts.webhooks?.find(caller.tenant, request.webhookId);
      return {
        environment: found?.environment,
        plane: found?.plane,
        keyId: request?.webhookId.toLowerCase(),
      };
    },
    async run({ webhookId, approval, place }, caller) {
      const { webhooks } = parts;
      if (webhooks === undefined) return noWebhooks;
      if (place !== undefined && place.tenant !== caller.tenant) return otherTenant;
      if (place !== undefined && !isOfPlace(caller, place)) return otherPlace;
      const found = webhooks.find(caller.tenant, webhookId);
      if (found === undefined || !isOfPlace(caller, found) || !isAt(found, place)) return refuse('NotFound');
      const { name: operation } = approvableOperations.webhook_remove;
      let failed = (_: FailureCode) => {};
      const removed = await webhooks.remove(caller.tenant, webhookId, async (webhook) => {
        const change = { operation, keyId: webhook.id };
        const begun = await begin(parts, { type: 'webhook.removed', approval, change, caller, webhook });
        if (begun.ok) failed = begun.value.failed;
        return begun.ok ? ok(undefined) : begun;
      });
      if (!removed.ok) failed(removed.failure.code);
      return removed;
    },
  };
}

interface WebhookChange {
  readonly type: 'webhook.added' | 'webhook.removed';
  readonly approval: string | undefined;
  readonly change: { readonly operation: string; readonly keyId?: string; readonly requestSha256?: string };
  readonly caller: Caller;
  readonly webhook: Webhook;
}

const noAgreement = refuse('NoCapability', 'this needs the approval of a second principal');

/** The agreement, used up, and the record of the change, on the disk. `failed` gives it a second record, which says so. */
async function begin(
  { approvals, recorder }: WebhookParts,
  { type, approval, change, caller, webhook }: WebhookChange,
): Promise<Result<{ failed(code: FailureCode): void }>> {
  const { tenant, actor } = caller;
  if (approvals === undefined || approval === undefined) return noAgreement;
  const agreed = await approvals.check(approval, { tenant, actor, ...change });
  if (!agreed.ok) return agreed;
  const event: AuditEvent = {
    ...{ actor, tenant, opId: randomUUID(), alg: 'none', inputDigest: undefined },
    ...{ keyId: `${tenant}/-`, keyVersion: 0, purpose: change.operation, result: 'ok', type },
    data: {
      ...{ webhook_id: webhook.id, environment: webhook.environment, plane: webhook.plane },
      // Its path may be a secret of the receiver's.
      target: new URL(webhook.url).origin,
      url_sha256: createHash('sha256').update(webhook.url).digest('hex'),
      ...{ event_types: webhook.types.join(','), approver: agreed.value.approver, approval: agreed.value.id },
    },
  };
  const unrecorded = await append(recorder, event, 'synced');
  if (unrecorded !== undefined) return unrecorded;
  return ok({ failed: (code) => void append(recorder, { ...event, result: `error:${code}` }, 'written') });
}

async function append(
  recorder: WebhookParts['recorder'],
  event: AuditEvent,
  level: 'synced' | 'written',
): Promise<Refused | undefined> {
  const full = recorder.reserve(1);
  if (full !== undefined) return full;
  const appended = await recorder.append(event, level);
  return appended.ok ? undefined : appended;
}

import assert from 'node:assert/strict';
import test from 'node:test';
import type { AuditParts } from '../../src/audit/service/parts.ts';
import { ok, refuse } from '../../src/core/result.ts';
import type { Caller } from '../../src/core/scope.ts';
import { listReceiptsOperation } from '../../src/operations/receipts/read-receipts.ts';
import {
  addWebhookOperation,
  listWebhooksOperation,
  removeWebhookOperation,
} from '../../src/operations/receipts/webhooks.ts';
import { codeOf, unwrap } from '../support/keyring.ts';
import { acme } from '../support/operations.ts';

const place = { tenant: 'acme', environment: 'prod', plane: 'laptop' };
const placed = (environments: readonly string[]): Caller => ({
  ...acme,
  placement: { environments, planes: 'all', module: 'm' },
});
const prod = placed(['prod']);
/** Of another place, and of none that is known. */
const others = [placed(['dev']), acme];

test('a webhook is made, shown and removed by callers of its place, and by nobody else', async () => {
  const webhook = {
    ...place,
    id: '11111111-2222-4333-8444-555555555555',
    url: 'https://x.example/',
    types: [],
  };
  const reached: string[] = [];
  const parts = {
    webhooks: {
      add: async () => {
        reached.push('add');
        return refuse('Conflict');
      },
      list: () => [webhook],
      find: () => webhook,
      remove: async () => {
        reached.push('remove');
        return refuse('Conflict');
      },
    },
    ...{ approvals: undefined, recorder: undefined },
  } as unknown as Parameters<typeof addWebhookOperation>[0];
  const [add, list, remove] = [
    addWebhookOperation(parts),
    listWebhooksOperation(parts),
    removeWebhookOperation(parts),
  ];
  const wanted = { ...place, url: webhook.url, types: undefined, approval: 'yes', requestSha256: '0' };
  const gone = { webhookId: webhook.id, approval: 'yes' };
  for (const caller of others) {
    assert.equal(codeOf(await add.run(wanted, caller)), 'NoCapability');
    assert.deepEqual(unwrap(await list.run(undefined, caller)), []);
    assert.equal(codeOf(await remove.run(gone, caller)), 'NotFound');
    assert.equal(codeOf(await remove.run({ ...gone, place }, caller)), 'NoCapability');
  }
  assert.deepEqual(reached, []);
  assert.equal(codeOf(await add.run(wanted, prod)), 'Conflict');
  assert.equal(unwrap(await list.run(undefined, prod)).length, 1);
  assert.equal(codeOf(await remove.run({ ...gone, place }, prod)), 'Conflict');
  assert.deepEqual(reached, ['add', 'remove']);
});

test('receipts are asked for in the places of the caller, and in none where it has none', async () => {
  const asked: unknown[] = [];
  const reading = {
    ask: async ({ environments, planes }: Record<string, unknown>) => {
      asked.push({ environments, planes });
      return ok({ found: false });
    },
  };
  const list = listReceiptsOperation({ reading } as unknown as AuditParts);
  const everything = {
    ...{ keyId: undefined, operation: undefined, sinceMs: undefined, untilMs: undefined },
    ...{ cursor: undefined, limit: undefined },
  };
  for (const caller of [prod, acme]) await list.run(everything, caller);
  assert.deepEqual(asked, [
    { environments: ['prod'], planes: undefined },
    { environments: [], planes: [] },
  ]);
});

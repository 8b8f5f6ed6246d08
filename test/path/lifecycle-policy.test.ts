import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { Caller, CallFacts } from '../../src/core/scope.ts';
import { codeOf, unwrap } from '../support/keyring.ts';
import { agrees, openPlacedService, type PlacedService } from '../support/placed.ts';
import { placedCaller, prodLaptop } from '../support/placed-calls.ts';
import { temporaryDirectory } from '../support/service.ts';

const data = Buffer.from('Hello, World!');

function ways(placed: PlacedService) {
  const made = async (more: object = {}) => {
    const request = {
      ...({ ...prodLaptop, keyType: 'Ed25519', usages: ['sign', 'verify'], approval: agrees } as const),
      ...{ alias: undefined, validUntilMs: undefined, access: undefined, rotation: undefined },
      ...{ purpose: undefined, name: undefined, requestSha256: '00'.repeat(32) },
    };
    return unwrap(await placed.asked('generate', { ...request, ...more })).keyId;
  };
  const sign = (keyId: string, caller: Caller = placedCaller) =>
    placed.asked('sign', { ...prodLaptop, keyId, data, alg: undefined, approval: undefined }, caller);
  return { made, sign };
}

test('policy and capabilities judge the kid of a key that is named by key_id', async (t) => {
  const path = join(temporaryDirectory(), 'policy.yaml');
  writeFileSync(
    path,
    `
rules:
  - { effect: deny, when: { operation: lifecycle_sign, purpose: secret } }
  - { effect: allow, when: { purpose: counted }, limits: { uses_per_day: 2 } }
default: allow
`,
  );
  const dataDir = temporaryDirectory();
  let placed = await openPlacedService({ dataDir, env: { KMS_POLICY_FILE: path } });
  t.after(() => placed.stop());
  let { made, sign } = ways(placed);
  const [open, secret, counted] = [
    await made(),
    await made({ purpose: 'secret' }),
    await made({ purpose: 'counted' }),
  ];
  await placed.stop();
  // Nothing is in memory: the names are read from the store first.
  placed = await openPlacedService({ dataDir, env: { KMS_POLICY_FILE: path } });
  ({ made, sign } = ways(placed));
  assert.equal(codeOf(await sign(secret)), 'PolicyViolation');
  assert.equal(codeOf(await sign(secret)), 'PolicyViolation');
  assert.equal(codeOf(await sign(open)), 'ok');
  const results = [await sign(counted), await sign(counted), await sign(counted)];
  assert.deepEqual(results.map(codeOf), ['ok', 'ok', 'RateLimited']);

  const seen: CallFacts[] = [];
  const conditions = {
    refusal(facts: CallFacts) {
      seen.push(facts);
      return undefined;
    },
    use: () => undefined,
    spend: () => undefined,
  };
  assert.equal(codeOf(await sign(open, { ...placedCaller, conditions })), 'ok');
  assert.deepEqual(seen[0]?.kids, [`acme/kms/ed25519/${open}#v1`]);
});

test('keys, names, states and what was counted are there after a restart, and the limit is never passed', async (t) => {
  const dataDir = temporaryDirectory();
  let placed = await openPlacedService({ dataDir });
  t.after(() => placed.stop());
  let { made, sign } = ways(placed);
  const keyId = await made({ alias: 'restarted', access: { maxUsagePerDay: 40 } });
  const gone = await made();
  const revoking = { ...prodLaptop, keyId: gone, approval: agrees, reason: 'retired' } as const;
  const done = unwrap(await placed.asked('revoke', revoking));
  let signed = 0;
  for (let restart = 0; restart < 3; restart++) {
    const results = await Promise.all(Array.from({ length: 16 }, () => sign(keyId)));
    signed += results.filter(({ ok }) => ok).length;
    await placed.stop();
    placed = await openPlacedService({ dataDir });
    ({ made, sign } = ways(placed));
  }
  assert.equal(signed, 40);
  assert.equal(codeOf(await sign(keyId)), 'RateLimited');
  assert.deepEqual(unwrap(await placed.asked('revoke', revoking)), done);
  const { state, alias } = unwrap(await placed.asked('read', { ...prodLaptop, keyId }));
  assert.deepEqual([state, alias], ['active', 'restarted']);
  assert.equal(codeOf(await sign(gone)), 'Conflict');
});

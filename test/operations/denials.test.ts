import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test from 'node:test';
import type { AuditEvent, AuditRecorder } from '../../src/audit/audit-log.ts';
import { type FailureCode, failures } from '../../src/core/failure.ts';
import { ok, refuse } from '../../src/core/result.ts';
import type { Caller } from '../../src/core/scope.ts';
import { publicCode, spoken } from '../../src/http/dialects/intaglio/failures.ts';
import { createDenials, unauthorisedRecords } from '../../src/operations/denials.ts';

const caller: Caller = { tenant: 'acme', scopes: new Set(), actor: 'cap:0123456789abcdef' };
const codes = Object.keys(failures) as FailureCode[];

/** Denials whose records are kept here, with no key in the store and a clock that stands still. */
function denialsWith({ degraded = false } = {}) {
  const recorded: AuditEvent[] = [];
  const sideLog: AuditEvent[] = [];
  const recorder: AuditRecorder = {
    reserve: () => (degraded ? refuse('AuditUnavailable') : undefined),
    release: () => {},
    append: async (event) => {
      recorded.push(event);
      return ok({ index: 0, seq: 1 });
    },
    changeCommitted: () => {},
    commitmentSalt: () => undefined,
    degraded,
    unrecorded: (event) => void sideLog.push(event),
  };
  const keys = { find: () => refuse('NotFound') };
  const clock = { monotonicMs: () => 0, utcMs: () => 0 };
  return { denials: createDenials(recorder, 'written', keys, clock), recorded, sideLog };
}

test('a refused call that names no key is recorded under its tenant, with its algorithm', async () => {
  const { denials, recorded } = denialsWith();
  await denials.denied('create', { alg: 'rsa-2048' }, 'PolicyViolation', caller);
  const { opId, ...rest } = recorded[0] as AuditEvent;
  assert.match(opId, /^[0-9a-f-]{36}$/);
  assert.deepEqual(rest, {
    actor: caller.actor,
    alg: 'rsa-2048',
    inputDigest: undefined,
    keyId: 'acme/-',
    keyVersion: 0,
    purpose: 'create',
    result: 'denied:PolicyViolation',
    tenant: 'acme',
  });
});

test('while the log takes no records it is in the side log', async () => {
  const { denials, recorded, sideLog } = denialsWith({ degraded: true });
  await denials.denied('create', { alg: 'ed25519' }, 'Conflict', caller);
  assert.deepEqual([recorded.length, sideLog.length], [0, 1]);
});

test('what a tenant may not do is recorded up to a bound, whether the scope or the tenant is wrong', async () => {
  const { denials, recorded } = denialsWith();
  for (let n = 0; n < unauthorisedRecords.count; n++) {
    denials.unauthorised('create', caller, () => ({ alg: 'ed25519' }));
    await denials.denied('create', { alg: 'ed25519' }, 'NoCapability', caller);
  }
  assert.equal(recorded.length, unauthorisedRecords.count);
  denials.unauthorised('create', { ...caller, tenant: 'globex' }, () => ({ alg: 'ed25519' }));
  assert.equal(recorded.length, unauthorisedRecords.count + 1, 'of each tenant');
});

test('a key that is not there gets no record', async () => {
  const { denials, recorded } = denialsWith();
  await denials.denied(
    'sign',
    ['acme/test/ed25519/0192f7c1-5b1e-7c3a-9d2e-000000000000'],
    'Conflict',
    caller,
  );
  assert.deepEqual(recorded, []);
});

test('docs/audit.md says of every refusal whether it leaves a record', async () => {
  const documentation = readFileSync(new URL('../../docs/audit.md', import.meta.url), 'utf8');
  const [, section = ''] = /### Refusals\n(.*?)\n## /s.exec(documentation) ?? [];
  const [recordedText = '', unrecordedText = ''] = section.split('These leave no record.');
  for (const code of codes) {
    const { denials, recorded } = denialsWith();
    await denials.denied('create', { alg: 'none' }, code, caller);
    const name = publicCode(code);
    if (recorded.length > 0) assert.ok(recordedText.includes(`\`${name}\``), code);
    else assert.ok(unrecordedText.includes(`${spoken[code].status} ${name}`), code);
  }
});

import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { after, before } from 'node:test';
import { systemFiles } from '../../src/audit/disk/files.ts';
import { type NoteKey, parseVkey } from '../../src/audit/format/note.ts';
import { attestationKeys } from '../../src/audit/reading/attestation-keys.ts';
import { openLogReader } from '../../src/audit/reading/log-reader.ts';
import { type KeyEvidence, verifyAttestation } from '../../src/client/attestation.ts';
import { KmsClient } from '../../src/client/kms-client.ts';
import { startInProcess } from '../support/in-process.ts';
import { call, type ListeningService, temporaryDirectory } from '../support/service.ts';
import { intaglio } from './intaglio.ts';

let service: ListeningService;
let directory: string;
let kid: string;
let env: Record<string, string>;
const at = (name: string): string => join(directory, name);
const ask = (...args: readonly string[]) => intaglio(['attest', ...args], { env });

before(async () => {
  service = await startInProcess({ listen: true, env: { KMS_AUDIT_KEY_OVERLAP_MS: '0' } });
  directory = temporaryDirectory();
  writeFileSync(at('token'), service.token);
  env = { KMS_URL: service.url, KMS_TOKEN_FILE: at('token'), HOME: directory };
  kid = (await call(service, service.token, 'POST', '/v1/kms/keys', { purpose: 'cli', alg: 'ed25519' })).body
    .kid;
  writeFileSync(at('first.vkeys'), `${(await vkeys()).join('\n')}\n`);
});

after(() => service.stop());

async function vkeys(): Promise<readonly string[]> {
  return (await call(service, service.token, 'GET', '/v1/kms/audit/vkeys')).body.vkeys;
}

test('attest asks for evidence with a nonce of its own, and verifies it', async () => {
  const asked = await ask('--kid', kid, '--verify', '--keys', at('first.vkeys'));
  assert.equal(asked.status, 0, asked.stderr);
  assert.equal(JSON.parse(asked.stdout).kid, kid);
  assert.match(asked.stderr, /valid: it is what this service said of the key/);
  const trusting = await ask('--kid', kid, '--verify', '--out', at('own.evidence'));
  assert.equal(trusting.status, 0, trusting.stderr);
  assert.match(trusting.stderr, /warning: the keys are those that the service names/);
});

test('attest tells wrong use and refusals apart by its exit status', async () => {
  assert.equal((await ask('--nonce', 'AAAA', '--kid', kid)).status, 2);
  assert.equal((await ask()).status, 2);
  assert.equal((await ask('verify', at('own.evidence'), '--kid', kid)).status, 2, 'no keys');
  assert.equal((await ask('--kid', `${kid.slice(0, -1)}9`)).status, 1);
});

test('attest verify takes evidence of this key and call alone', async () => {
  const nonce = Buffer.alloc(12, 5).toString('base64url');
  const given = await ask('--kid', kid, '--nonce', nonce, '--out', at('key.evidence'));
  assert.equal(given.status, 0, given.stderr);
  const verify = (...more: readonly string[]) =>
    ask('verify', at('key.evidence'), '--keys', at('first.vkeys'), ...more);
  const valid = await verify('--kid', kid, '--nonce', nonce, '--json');
  assert.equal(valid.status, 0, valid.stderr);
  assert.equal(JSON.parse(valid.stdout).eat_nonce, nonce);
  const replayed = await verify('--kid', kid);
  assert.deepEqual([replayed.status, /wrong_nonce/.test(replayed.stderr)], [1, true]);
  const late = await verify('--kid', kid, '--nonce', nonce, '--at', '2100-01-01T00:00:00Z');
  assert.deepEqual([late.status, /expired/.test(late.stderr)], [1, true]);
});

// One after the other: the first evidence is of keys that the service then replaces.
test('the log leads from the keys before a rotation to those after it, and back', async () => {
  const client = new KmsClient({ url: service.url, token: service.token });
  try {
    const before = await client.attest(kid);
    const firstKeys = await vkeys();
    await client.call('/v1/kms/audit/rotate-keys', {});
    while (
      (await client.call<{ replaced?: object }>('/v1/kms/audit/vkeys', undefined)).replaced !== undefined
    )
      await new Promise((resolve) => setTimeout(resolve, 50));
    const later = await client.attest(kid, { nonce: Buffer.alloc(8) });
    const newKeys = await vkeys();
    const known = (texts: readonly string[]) =>
      texts.flatMap((vkey): NoteKey[] => {
        const parsed = parseVkey(vkey);
        return parsed.ok ? [parsed.value] : [];
      });
    const check = (evidence: KeyEvidence, keys: object, more: object = {}) => {
      const verdict = verifyAttestation(evidence, { keys: [], kid, ...keys, ...more });
      return verdict.ok ? 'ok' : verdict.reason;
    };
    const nonce = { nonce: Buffer.alloc(8).toString('base64url') };
    assert.equal(check(later, { keys: firstKeys }, nonce), 'untrusted_key', 'without the log');
    assert.equal(check(before, { keys: newKeys }), 'untrusted_key', 'without the log');
    const reader = openLogReader(join(service.dataDir, 'audit'), systemFiles);
    const log = { tiles: reader, note: reader.checkpoint()?.note };
    for (const trusted of [firstKeys, newKeys]) {
      const led = attestationKeys(log, known(trusted));
      assert.ok(led.ok, JSON.stringify(led));
      assert.equal(check(before, led.value), 'ok');
      assert.equal(check(later, led.value, nonce), 'ok');
      // Whoever found the old keys later signs in vain.
      const notAfter = Object.fromEntries(Object.keys(led.value.notAfter).map((name) => [name, 0]));
      assert.equal(Object.keys(notAfter).length, 2);
      assert.equal(check(before, led.value, { notAfter }), 'replaced_key');
    }

    writeFileSync(at('later.evidence'), JSON.stringify(later));
    const args = ['verify', at('later.evidence'), '--kid', kid, '--nonce', nonce.nonce];
    const through = [...args, '--keys', at('first.vkeys'), '--log', join(service.dataDir, 'audit')];
    const led = await ask(...through);
    assert.equal(led.status, 0, led.stderr);
    const alone = await ask(...args, '--keys', at('first.vkeys'));
    assert.deepEqual([alone.status, /untrusted_key/.test(alone.stderr)], [1, true]);
  } finally {
    await client.close();
  }
});

test('a log whose checkpoint these keys did not sign leads nowhere', async () => {
  const reader = openLogReader(join(service.dataDir, 'audit'), systemFiles);
  const other = await startInProcess();
  try {
    const { vkeys: theirs } = (await call(other, other.token, 'GET', '/v1/kms/audit/vkeys')).body;
    const keys = (theirs as string[]).flatMap((vkey): NoteKey[] => {
      const parsed = parseVkey(vkey);
      return parsed.ok ? [parsed.value] : [];
    });
    assert.equal(attestationKeys({ tiles: reader, note: reader.checkpoint()?.note }, keys).ok, false);
    assert.equal(attestationKeys({ tiles: reader, note: undefined }, keys).ok, false);
  } finally {
    await other.stop();
  }
});

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { startFakeAws } from '../support/cloud/fake-aws.ts';
import { call, helloWorldB3, startService } from '../support/service.ts';
import { temporaryDirectory } from '../support/temporary-directory.ts';
import { intaglio } from './intaglio.ts';

async function good(env: Record<string, string>, ...args: readonly string[]): Promise<string> {
  const { status, stdout, stderr } = await intaglio(['root', ...args], { env });
  assert.equal(status, 0, stderr);
  return stdout;
}

test('with a root key in a cloud KMS all rules are local, and an outage is none once the service is up', async (t) => {
  const fake = await startFakeAws();
  t.after(() => fake.close());
  const key = await fake.newKey();
  const env = {
    ...{ AWS_ACCESS_KEY_ID: 'AKIAFAKE', AWS_SECRET_ACCESS_KEY: fake.credential },
    // Nothing of the machine's own.
    ...{ AWS_CONFIG_FILE: '/dev/null', AWS_SHARED_CREDENTIALS_FILE: '/dev/null' },
  };
  const dataDir = join(temporaryDirectory(t), 'data');
  const of = ['--data-dir', dataDir];
  const made = await good(env, 'init', '--aws-kms', key.key, '--endpoint', key.endpoint ?? '', ...of);
  assert.match(made, /opened as a start does it/);
  const list = readFileSync(join(dataDir, 'root-sources.json'), 'utf8');
  assert.ok(list.includes(key.key) && !list.includes(fake.credential));
  const seenAtInit = fake.seen.length;
  const service = await startService({
    dataDir,
    env: { ...env, KMS_ALLOWED_ALGS: 'ed25519', KMS_KEYS_PER_TENANT: '2' },
  });
  assert.deepEqual(
    fake.seen.slice(seenAtInit).map((seen) => seen.call),
    ['TrentService.Decrypt'],
  );
  // From here on it gives nothing more.
  fake.fault(key, 'unavailable');
  t.after(() => service.stop());
  const asked = fake.seen.length;
  const create = (token: string, alg: string) =>
    call(service, token, 'POST', '/v1/kms/keys', { purpose: 'test', alg });
  const signing = await create(service.token, 'ed25519');
  assert.equal(signing.status, 201);
  const sign = (token: string) =>
    call(service, token, 'POST', '/v1/kms/sign', { kid: signing.body.kid, payload_b3: helloWorldB3 });
  assert.equal((await sign(service.token)).status, 200);
  assert.equal((await sign(await service.mint('default', 'kms:read'))).status, 403, 'capabilities');
  assert.equal((await sign(await service.mint('other'))).status, 404, 'tenants');
  assert.equal((await create(service.token, 'ecdsa-p256')).body.error.code, 'PolicyViolation', 'policy');
  assert.equal((await create(service.token, 'ed25519')).status, 201);
  assert.equal((await create(service.token, 'ed25519')).status, 409, 'limits');
  assert.equal(fake.seen.length, asked, 'nothing is asked while it serves');
  assert.equal(await service.stop(), 0);

  // A start in the outage has no other source; the next one has.
  await assert.rejects(startService({ dataDir, env }), /does not answer \(503\)/);
  fake.fault(key, 'hang', 0);
  await good(env, 'source', 'add', '--kind', 'file', '--file', join(dataDir, 'way-back.key'), ...of);
  fake.fault(key, 'denied');
  const { status, stdout } = await intaglio(['root', 'status', ...of], { env });
  assert.equal(status, 2, 'opened by the next source of the list');
  assert.match(stdout, /aws \(.*DOES NOT OPEN: .*is refused[\s\S]*file \(.*: opens/);
  assert.ok(!stdout.includes(fake.credential));
});

test('what cannot be a key or an address is refused before anything is made', async () => {
  const arn = 'arn:aws:kms:eu-central-1:111122223333:key/1234abcd';
  const refusals: readonly (readonly [RegExp, ...string[]])[] = [
    [/an alias may be pointed/, '--aws-kms', arn.replace('key/', 'alias/')],
    [/--endpoint must begin with https/, '--aws-kms', arn, '--endpoint', 'http://kms.example'],
    [/with its version/, '--azure-key', 'https://name.vault.azure.net/keys/root'],
  ];
  const asked = refusals.map(async ([says, ...args]) => {
    const { status, stderr } = await intaglio(['root', 'init', '--data-dir', '/nonexistent/data', ...args]);
    assert.equal(status, 1, args.join(' '));
    assert.match(stderr, says);
  });
  await Promise.all(asked);
});

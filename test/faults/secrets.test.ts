import assert from 'node:assert/strict';
import { cpSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { open } from 'lmdb';
import { helloWorldB3, type ServiceProcess, temporaryDirectory } from '../support/service.ts';
import { inspectable, readHeap } from './inspector.ts';
import { startFor } from './start-for.ts';
import { secretNumbers, unseal } from './unseal.ts';

const algorithms = [
  'ed25519',
  'ml-dsa-44',
  'ml-dsa-65',
  'ml-dsa-87',
  'ecdsa-p256',
  'ecdsa-p384',
  'rsa-2048',
  'ed25519+ml-dsa-65',
  'mldsa65-p256',
];

test('no secret is in any answer, log line, metric or file but its own, nor on the heap', async (context) => {
  const service = await startFor(context, { env: { ...inspectable, KMS_LOG_LEVEL: 'trace' } });
  const otherToken = await service.mint('acme');
  const { said, kids } = await useEverything(service, otherToken);
  const heap = await readHeap(service);
  assert.equal(await service.stop(), 0);
  const printed = service.log.join('\n') + service.errors();
  const outside = said.join('\n') + printed + filesOf(service.dataDir);

  const rootKey = readFileSync(join(service.dataDir, 'root.key'));
  const privateNumbers = unsealAll(service.dataDir, rootKey);
  // Two versions of each, the hybrid and the composite have two parts; RSA has three numbers.
  assert.equal(privateNumbers.length, 2 * (algorithms.length + 2 + 2));
  const macaroonKey = readFileSync(join(service.dataDir, 'macaroon.key'));
  const auditSecret = readFileSync(join(service.dataDir, 'audit.secret'));
  const hidden = [rootKey, ...privateNumbers, macaroonKey, auditSecret];

  // The search finds what is there.
  assert.ok(kids.every((kid) => outside.includes(kid) && heap.strings.includes(kid.split('#')[0] as string)));
  assert.ok(isIn(outside, Buffer.from(helloWorldB3, 'hex')));
  for (const secret of hidden) assert.ok(!isIn(outside, secret));
  for (const token of [service.token, otherToken]) {
    assert.ok(!outside.includes(token));
    // The end of a macaroon is its signature: whoever has that has the capability.
    assert.ok(!outside.includes(token.slice(-40)));
  }
  for (const secret of hidden) {
    assert.ok(!isIn(heap.strings, secret));
    // Of long numbers any quarter would be too much.
    for (let at = 0; at + 16 <= secret.length; at += 16) {
      assert.ok(!heap.buffers.includes(secret.subarray(at, at + 16)));
    }
  }
});

/** Every route, with success and with failure. */
async function useEverything(service: ServiceProcess, otherToken: string) {
  const said: string[] = [];
  const ask = async (token: string | undefined, method: string, path: string, body?: unknown) => {
    const response = await fetch(`${service.url}${path}`, {
      method,
      ...(token === undefined ? {} : { headers: { authorization: `Bearer ${token}` } }),
      ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
    });
    const text = await response.text();
    said.push(JSON.stringify([...response.headers]), text);
    return { status: response.status, text };
  };
  const { token } = service;
  const kids: string[] = [];
  for (const alg of algorithms) {
    const made = await ask(token, 'POST', '/v1/kms/keys', { purpose: 'p', alg });
    assert.equal(made.status, 201);
    const kid = JSON.parse(made.text).kid as string;
    kids.push(kid);
    const id = encodeURIComponent(kid.split('#')[0] as string);
    const signed = await ask(token, 'POST', '/v1/kms/sign', { kid, payload_b3: helloWorldB3 });
    assert.equal(signed.status, 200);
    const { sigs } = JSON.parse(signed.text);
    await ask(token, 'POST', '/v1/kms/verify', { payload_b3: helloWorldB3, sigs });
    await ask(token, 'POST', `/v1/kms/keys/${id}/rotate`, {});
    await ask(token, 'POST', '/v1/kms/sign', { kid: kid.split('#')[0], payload_b3: helloWorldB3 });
    // A version that may not sign, another tenant, and every way to ask for the private part.
    await ask(token, 'POST', '/v1/kms/sign', { kid, payload_b3: helloWorldB3 });
    await ask(otherToken, 'POST', '/v1/kms/sign', { kid, payload_b3: helloWorldB3 });
    await ask(token, 'GET', `/v1/kms/keys/${id}`);
    for (const way of ['export', 'private', 'secret', 'backup'])
      await ask(token, 'GET', `/v1/kms/keys/${id}/${way}`);
  }
  const items = kids.map((kid) => ({ kid: kid.split('#')[0], payload_b3: helloWorldB3 }));
  await ask(token, 'POST', '/v1/kms/sign/batch', { items });
  await ask(token, 'GET', '/v1/kms/keys?limit=3');
  await ask(undefined, 'GET', '/v1/kms/keys');
  await ask(`${token}x`, 'GET', '/v1/kms/keys');
  await ask(token, 'POST', '/v1/kms/sign', token);
  await ask(token, 'POST', '/v1/kms/keys', { purpose: 'p', alg: 'ed25519', [token]: token });
  for (const path of ['/healthz', '/readyz', '/version', '/metrics']) await ask(undefined, 'GET', path);
  return { said, kids };
}

/** What else the service left on the disk: the store, with private keys sealed, and the audit log. */
function filesOf(dataDir: string): string {
  const secrets = ['root.key', 'macaroon.key', 'audit.secret', 'bootstrap.token'];
  const names = readdirSync(dataDir, { recursive: true }).map(String);
  const files = names.filter((name) => !secrets.includes(name) && statSync(join(dataDir, name)).isFile());
  assert.ok(files.length > 2);
  return files.map((name) => readFileSync(join(dataDir, name), 'latin1')).join('\n');
}

/** The secret numbers of all keys of a data directory whose service has ended. */
function unsealAll(dataDir: string, rootKey: Buffer): Buffer[] {
  const copy = join(temporaryDirectory(), 'store');
  cpSync(join(dataDir, 'store'), copy, { recursive: true });
  const root = open({ path: copy, noSubdir: false, maxDbs: 4 });
  const records = root.openDB<Buffer, Buffer>({ name: 'records', encoding: 'binary', keyEncoding: 'binary' });
  const numbers: Buffer[] = [];
  for (const { key, value } of records.getRange({ start: Buffer.from('ver/'), end: Buffer.from('ver0') })) {
    const [, id, number] = /^ver\/(.*)#(\d+)$/.exec(key.toString()) as RegExpExecArray;
    // Behind the revision, the tag and the authenticated text.
    const sealedAt = 8 + 37 + Buffer.from(value).readUInt32LE(8 + 33);
    const parts = JSON.parse(value.subarray(sealedAt).toString()) as string[];
    for (const [index, part] of parts.entries()) {
      const aad = `${id}#v${Number(number)}/${index}`;
      const sealed = Buffer.from(part, 'base64');
      numbers.push(...secretNumbers(unseal(rootKey, (id as string).split('/')[0] as string, aad, sealed)));
    }
  }
  void root.close();
  return numbers;
}

/** As text of any usual kind, also within something longer. */
function isIn(text: string, secret: Buffer): boolean {
  const forms = [secret.toString('latin1'), secret.toString('hex'), secret.toString('hex').toUpperCase()];
  for (const shift of [0, 1, 2]) {
    // Whole groups of three bytes: what comes before and after does not show in them.
    const whole = secret.subarray(shift, shift + 3 * Math.floor((secret.length - shift) / 3));
    forms.push(whole.toString('base64'), whole.toString('base64url'));
  }
  return forms.some((form) => text.includes(form));
}

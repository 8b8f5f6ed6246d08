import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import crypto from 'node:crypto';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { Worker } from 'node:worker_threads';
import type * as addon from '../../native/index.d.ts';
import {
  type BatchItem,
  batchHeaderWords,
  batchOps,
  batchStatuses,
  encodeBatch,
  itemWords,
  readResults,
  responseFor,
  resultTableBytes,
  spanWords,
} from '../../src/engine/batch.ts';
import { type KeyTypeName, keyTypes, type Scheme, schemes } from '../../src/engine/engine.ts';
import { buildKeyReference } from '../../src/engine/key-reference.ts';
import { type SigningKeyTypeName, schemesOf } from '../support/batches.ts';
import { nodeHas, nodePublicKey, nodeVerify } from '../support/node-verify.ts';

/*
 * What belongs to the addon alone; what both engines have in common is held by contract.ts and the tests around it.
 */

const addonPath = fileURLToPath(new URL('../../native/build/intaglio_native.node', import.meta.url));
const native: typeof addon | undefined = existsSync(addonPath)
  ? createRequire(import.meta.url)(addonPath)
  : undefined;
const childPath = fileURLToPath(new URL('./native-addon-child.ts', import.meta.url));
const message = new Uint8Array(32).fill(7);
const { ok, keyUnusable, badInput } = batchStatuses;

function nativeTest(
  name: string,
  body: (engine: typeof addon, t: TestContext) => void | Promise<void>,
): void {
  test(name, (t) => {
    if (native !== undefined) return body(native, t);
    t.skip('native engine not built');
  });
}

function newKey(engine: typeof addon, root: number, name: KeyTypeName) {
  return engine.generate(root, keyTypes[name], 'acme', 'kid');
}

function signItem(scheme: Scheme, sealed: Uint8Array, keyNumber = 0): BatchItem {
  const key = buildKeyReference('acme', 'kid', sealed);
  return { op: batchOps.sign, scheme, keyNumber, key, inputs: [message] };
}

function sign(engine: typeof addon, root: number, items: readonly BatchItem[]) {
  const request = encodeBatch(items);
  const response = responseFor(request);
  engine.run(root, request, response);
  return readResults(items, response);
}

async function child(scenario: string, wrapper: readonly string[] = []) {
  const [file, ...args] = [...wrapper, process.execPath, childPath, scenario];
  const { stdout } = await promisify(execFile)(file as string, args);
  return JSON.parse(stdout);
}

nativeTest('the addon names its libraries, and ML-DSA runs on AVX2 where the CPU has it', (engine) => {
  const { liboqs, awslc, mldsaAvx2, cpu } = engine.describe();
  assert.match(liboqs, /^\d+\.\d+\.\d+/);
  assert.match(awslc, /^\d+\.\d+\.\d+/);
  assert.equal(mldsaAvx2, / avx2\b/.test(cpu));
});

nativeTest('node:crypto accepts the public keys and the signatures of every scheme that it has', (engine) => {
  const root = engine.rootRandom();
  for (const name of Object.keys(schemesOf) as SigningKeyTypeName[]) {
    const { sealed, publicKey } = newKey(engine, root, name);
    for (const scheme of schemesOf[name].filter(nodeHas)) {
      const [result] = sign(engine, root, [signItem(scheme, sealed)]);
      assert.equal(result?.status, ok);
      const signature = result.outputs[0] as Uint8Array;
      assert.ok(nodeVerify(scheme, nodePublicKey(name, publicKey), message, signature), `${name} ${scheme}`);
    }
  }
});

nativeTest('importing fills the given secret with zeros, also when it is refused', (engine) => {
  const root = engine.rootRandom();
  const seed = crypto.randomBytes(32);
  const imported = engine.importKey(root, keyTypes.ed25519, 'acme', 'kid', seed);
  assert.equal(imported.publicKey.length, 32);
  assert.deepEqual(seed, Buffer.alloc(32));
  const refused: readonly (readonly [number, number, Buffer])[] = [
    [root, keyTypes.ed25519, crypto.randomBytes(31)],
    [root, keyTypes['ml-dsa-65'], crypto.randomBytes(33)],
    [root, keyTypes['rsa-2048'], crypto.randomBytes(1200)],
    [root, keyTypes['ecdsa-p256'], Buffer.alloc(0)],
    [root, 99, crypto.randomBytes(32)],
    [root + 1000, keyTypes.ed25519, crypto.randomBytes(32)],
  ];
  for (const [rootNumber, keyType, secret] of refused) {
    const call = () => engine.importKey(rootNumber, keyType, 'acme', 'kid', secret);
    assert.throws(call, { code: 'BAD_ARGUMENT' });
    assert.ok(secret.every((byte) => byte === 0));
  }
  const tooLong = crypto.randomBytes(100_000);
  assert.throws(() => engine.importKey(root, 1, 'acme', 'kid', tooLong), { code: 'BAD_ARGUMENT' });
  assert.ok(tooLong.every((byte) => byte === 0));
});

nativeTest('an RSA key of another size than its type is refused', (engine) => {
  const { privateKey } = crypto.generateKeyPairSync('rsa', { modulusLength: 2048 });
  const der = () => privateKey.export({ format: 'der', type: 'pkcs8' });
  const root = engine.rootRandom();
  assert.throws(() => engine.importKey(root, keyTypes['rsa-3072'], 'a', 'b', der()), {
    code: 'BAD_ARGUMENT',
  });
  const trailing = Buffer.concat([der(), Buffer.of(0)]);
  assert.throws(() => engine.importKey(root, keyTypes['rsa-2048'], 'a', 'b', trailing), {
    code: 'BAD_ARGUMENT',
  });
  assert.ok(engine.importKey(root, keyTypes['rsa-2048'], 'a', 'b', der()));
});

nativeTest('wrong arguments are refused with a code, never coerced', (engine) => {
  const root = engine.rootRandom();
  const bytes = new Uint8Array(64);
  const calls: readonly (() => unknown)[] = [
    () => engine.generate('1' as never, 1, 'a', 'b'),
    () => engine.generate(-1, 1, 'a', 'b'),
    () => engine.generate(root + 0.5, 1, 'a', 'b'),
    () => engine.generate(2 ** 32 + root, 1, 'a', 'b'),
    () => engine.generate(Number.NaN, 1, 'a', 'b'),
    () => engine.generate(root, 99, 'a', 'b'),
    () => engine.generate(root, 1, 7 as never, 'b'),
    () => engine.generate(root, 1, 'a', undefined as never),
    () => engine.generate(root, 1, 'a'.repeat(65_536), 'b'),
    () => (engine.generate as () => unknown)(),
    () => engine.importKey(root, 1, 'a', 'b', 'x'.repeat(32) as never),
    () => engine.importKey(root, 1, 'a', 'b', new Uint16Array(16) as never),
    () => engine.rootFromFile(3 as never),
    () => engine.rootFromFile('a\0b'),
    () => engine.rootCreateFile('a\0b'),
    () => engine.forget('x' as never),
    () => engine.configure(undefined as never),
    () => engine.run(root, bytes, [] as never),
    () => engine.run(root, new DataView(bytes.buffer) as never, bytes),
    () => engine.run(root, bytes, bytes),
    () => engine.run(root, bytes.subarray(0, 44), bytes.subarray(43)),
    // A message must not change while it is signed.
    () => engine.run(root, new Uint8Array(new SharedArrayBuffer(64)), bytes),
    () => engine.run(root, bytes, new Uint8Array(new SharedArrayBuffer(64))),
  ];
  for (const [index, call] of calls.entries()) {
    assert.throws(call, { code: 'BAD_ARGUMENT' }, `call ${index}`);
  }
});

nativeTest('arrays that form no batch are refused with MALFORMED_BATCH', (engine) => {
  const request = (count: number, responseBytes: number, length: number, spans = 0) => {
    const bytes = new Uint8Array(length);
    bytes.set(new Uint8Array(Uint32Array.of(count, responseBytes, spans).buffer).subarray(0, length));
    return bytes;
  };
  const table = (count: number) => (batchHeaderWords + count * itemWords) * 4;
  const cases: readonly (readonly [Uint8Array, number])[] = [
    [new Uint8Array(0), 100],
    [request(1, 8, 11), 100],
    [request(0, 8, 44), 100],
    [request(1, 8, table(1) - 1), 100],
    [request(4096, 8 * 4096, table(4096) - 1), 8 * 4096],
    [request(4097, 8 * 4097, table(4097)), 8 * 4097],
    [request(0xffffffff, 8, 44), 100],
    [request(2 ** 30, 8, 44), 100],
    // No span for the key, and more spans than there are bytes.
    [request(1, 8, table(1)), 100],
    [request(1, 8, table(1), 1), 100],
    [request(1, 8, table(1) + 8, 0xffffffff), 100],
    [request(1, 7, table(1) + 8, 1), 100],
    [request(2, 15, table(2) + 16, 2), 100],
    [request(1, 101, table(1) + 8, 1), 100],
    [request(1, 0xffffffff, table(1) + 8, 1), 100],
    [request(1, 8, table(1) + 8, 1), 0],
  ];
  for (const [index, [bytes, responseBytes]] of cases.entries()) {
    const run = () => engine.run(1, bytes, new Uint8Array(responseBytes));
    assert.throws(run, { code: 'MALFORMED_BATCH' }, `case ${index}`);
  }
});

nativeTest('a batch at an odd address works, and ranges that meet the ends exactly are good', (engine) => {
  const root = engine.rootRandom();
  const items = [signItem(schemes.ed25519, newKey(engine, root, 'ed25519').sealed)];
  const request = encodeBatch(items);
  const response = responseFor(request);
  const [oddRequest, oddResponse] = [request, response].map((bytes) => {
    const odd = new Uint8Array(bytes.length + 3).subarray(3);
    odd.set(bytes);
    return odd;
  }) as [Uint8Array, Uint8Array];
  engine.run(root, oddRequest, oddResponse);
  assert.equal(oddResponse[0], ok);
  // The signature's room one byte past the end of the response: of the third span, after key and message.
  const signaturePlace = batchHeaderWords + itemWords + 2 * spanWords;
  new DataView(request.buffer).setUint32(signaturePlace * 4, resultTableBytes(1, 1) + 1, true);
  engine.run(root, request, response);
  assert.equal(response[0], badInput);
});

nativeTest('an unknown root opens nothing, and cached keys need none', (engine) => {
  const root = engine.rootRandom();
  const item = signItem(schemes.ed25519, newKey(engine, root, 'ed25519').sealed, 0xfffffff0);
  assert.equal(sign(engine, 0, [item])[0]?.status, keyUnusable);
  assert.equal(sign(engine, root, [item])[0]?.status, ok);
  assert.equal(sign(engine, 0, [item])[0]?.status, ok);
  assert.equal(engine.forget(item.keyNumber), true);
  assert.equal(engine.forget(item.keyNumber), false);
  assert.equal(sign(engine, 0, [item])[0]?.status, keyUnusable);
});

nativeTest('threads sign with the same keys while another forgets them', async (engine) => {
  const root = engine.rootRandom();
  const names: readonly SigningKeyTypeName[] = [
    'ed25519',
    'ml-dsa-44',
    'ml-dsa-87',
    'ecdsa-p256',
    'rsa-2048',
  ];
  const items = names.map((name, index) =>
    signItem(schemesOf[name][0] as Scheme, newKey(engine, root, name).sealed, 0xffff0000 + index),
  );
  const rounds = 150;
  const threads = [
    { rounds, forgets: false },
    { rounds, forgets: false },
    { rounds, forgets: false },
    { rounds: rounds * 500, forgets: true },
  ].map((part) => {
    const worker = new Worker(childPath, { workerData: { root, items, ...part } });
    return new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject));
  });
  const expected = { [ok]: rounds * items.length };
  assert.deepEqual(await Promise.all(threads), [expected, expected, expected, {}]);
});

nativeTest('keys beyond a tiny arena are evicted, opened again, and sign rightly', async () => {
  const { good, evictions, keys, arenaBytes, committedBytes } = await child('eviction');
  assert.equal(good, 600);
  assert.ok(evictions > 200, `${evictions} evictions`);
  assert.ok(keys > 0 && keys < 200, `${keys} keys`);
  // One page more, the random generator's.
  assert.ok(committedBytes <= arenaBytes + 65_536);
});

nativeTest('without leave to lock memory the engine works on, and says so', async (_, t) => {
  const limit = ['prlimit', '--memlock=65536:65536'];
  const wrapper = process.getuid?.() === 0 ? ['setpriv', '--bounding-set=-ipc_lock', ...limit] : limit;
  const available = await promisify(execFile)(wrapper[0] as string, [...wrapper.slice(1), 'true']).then(
    () => true,
    () => false,
  );
  if (!available) return t.skip('prlimit or setpriv does not work here');
  const { statuses, before, after } = await child('memlock', wrapper);
  assert.deepEqual(statuses, [ok]);
  assert.equal(before.locked, true);
  assert.equal(after.locked, false);
  assert.ok(after.lockedBytes > 0 && after.lockedBytes <= 65_536);
  assert.ok(after.committedBytes > after.lockedBytes);
});

nativeTest('wiping takes keys and roots away, and new ones can be made', async () => {
  assert.deepEqual(await child('wipe'), {
    before: [ok, 1],
    after: [keyUnusable, 0],
    codes: 'BAD_ARGUMENT',
    another: true,
  });
});

nativeTest('settings are checked, hold once, and the generator reseeds as often as set', async () => {
  const { codes, reseeds, arenaBytes } = await child('configure');
  const bad = 'BAD_ARGUMENT';
  assert.deepEqual(codes, [bad, bad, bad, bad, bad, bad, 'ok', 'ok', 'ALREADY_CONFIGURED']);
  assert.equal(reseeds, 140 / 7);
  assert.equal(arenaBytes, 1 << 20);
});

nativeTest('root key files: made once, private, regular, and of 32 bytes', (engine, t) => {
  const directory = mkdtempSync(join(tmpdir(), 'intaglio-'));
  t.after(() => rmSync(directory, { recursive: true }));
  const path = (name: string) => join(directory, name);
  const refused = (code: string, call: () => unknown) =>
    assert.throws(call, (error: Error & { code?: string }) => {
      assert.equal(error.code, code);
      return !error.message.includes(directory);
    });
  const root = engine.rootCreateFile(path('root'));
  const { mode, size } = statSync(path('root'));
  assert.deepEqual([mode & 0o777, size], [0o600, 32]);
  const { sealed } = newKey(engine, root, 'ed25519');
  const again = engine.rootFromFile(path('root'));
  assert.equal(sign(engine, again, [signItem(schemes.ed25519, sealed)])[0]?.status, ok);
  assert.equal(
    sign(engine, engine.rootRandom(), [signItem(schemes.ed25519, sealed)])[0]?.status,
    keyUnusable,
  );

  const content = readFileSync(path('root'));
  refused('ROOT_EXISTS', () => engine.rootCreateFile(path('root')));
  assert.deepEqual(readFileSync(path('root')), content);
  symlinkSync(path('elsewhere'), path('dangling'));
  refused('ROOT_EXISTS', () => engine.rootCreateFile(path('dangling')));
  assert.equal(existsSync(path('elsewhere')), false);
  refused('ROOT_MISSING', () => engine.rootCreateFile(path('absent/root')));

  refused('ROOT_MISSING', () => engine.rootFromFile(path('absent')));
  symlinkSync(path('root'), path('link'));
  refused('ROOT_NOT_REGULAR', () => engine.rootFromFile(path('link')));
  mkdirSync(path('directory'), { mode: 0o700 });
  refused('ROOT_NOT_REGULAR', () => engine.rootFromFile(path('directory')));
  for (const [name, length] of Object.entries({ empty: 0, short: 31, long: 33 })) {
    writeFileSync(path(name), new Uint8Array(length), { mode: 0o600 });
    refused('ROOT_LENGTH', () => engine.rootFromFile(path(name)));
  }
  for (const open of [0o604, 0o602, 0o601, 0o644, 0o666]) {
    chmodSync(path('root'), open);
    refused('ROOT_PERMISSIONS', () => engine.rootFromFile(path('root')));
  }
  chmodSync(path('root'), 0o400);
  engine.rootFromFile(path('root'));
});

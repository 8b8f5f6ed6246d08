import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { generateX25519Identity, identityToRecipient } from 'age-encryption';
import { intaglio } from '../../cli/intaglio.ts';
import { startInProcess } from '../../support/in-process.ts';
import type { InProcessService } from '../../support/service.ts';
import { acceptTampered, withStore } from '../../support/tampered-store.ts';
import { temporaryDirectory } from '../../support/temporary-directory.ts';

const b64 = (bytes: Uint8Array | string) => Buffer.from(bytes).toString('base64');

interface Recorded {
  readonly record: { readonly type: string; readonly data?: { readonly dek?: string } };
}

interface Deks {
  readonly service: InProcessService;
  readonly dataDir: string;
  // biome-ignore lint/suspicious/noExplicitAny: answers are looked into as they come.
  ask(path: string, body?: unknown, method?: string): Promise<{ status: number; body: any }>;
  restart(): Promise<Deks>;
}

async function deks(
  t: TestContext,
  env: Record<string, string> = {},
  dataDir = temporaryDirectory(t),
): Promise<Deks> {
  const service = await startInProcess({ dataDir, env: { KMS_DEK: 'true', ...env } });
  t.after(() => service.stop());
  const scopes =
    'kms:create,kms:read,kms:wrap,kms:unwrap,kms:encrypt,kms:decrypt,kms:rotate,kms:destroy,kms:audit';
  const token = await service.mint('dek', scopes);
  return {
    ...{ service, dataDir },
    async ask(path, body, method = body === undefined ? 'GET' : 'POST') {
      const sent = { method, path, token, body: body === undefined ? '' : JSON.stringify(body) };
      const { status, text } = await service.send(sent);
      return { status, body: text === '' ? undefined : JSON.parse(text) };
    },
    async restart() {
      await service.stop();
      return deks(t, env, dataDir);
    },
  };
}

/** `kek-v2/k1`, for each. */
const snapshotsOf = ({ dataDir }: Deks) => {
  const names = readdirSync(join(dataDir, 'kms-deks-backup'), { recursive: true }) as string[];
  return names.filter((name) => name.endsWith('.json')).sort();
};

test('a DEK encrypts and decrypts, bound to its id and the AAD', async (t) => {
  const kms = await deks(t);
  const made = await kms.ask('/create_dek_for_thread', { thread_id: 'thread-1' });
  assert.equal(made.status, 200);
  const { key_id } = made.body;
  assert.equal(made.body.kek_version, 1);
  const aad = b64('of the caller');
  for (const size of [0, 1, 1024, 65_536]) {
    const plaintext = b64(randomBytes(size));
    const { status, body } = await kms.ask('/encrypt', { key_id, plaintext, aad });
    assert.equal(status, 200);
    assert.equal(Buffer.from(body.ciphertext, 'base64').length, size + 28);
    const opened = await kms.ask('/decrypt', { key_id, ciphertext: body.ciphertext, aad });
    assert.deepEqual([opened.status, opened.body.plaintext], [200, plaintext]);
    const { ciphertext } = body;
    assert.equal((await kms.ask('/decrypt', { key_id, ciphertext })).status, 400);
    const other = (await kms.ask('/deks', {})).body.key_id;
    assert.equal((await kms.ask('/decrypt', { key_id: other, ciphertext, aad })).status, 400);
  }
});

test('an id that is taken is 409, and what was there stays', async (t) => {
  const kms = await deks(t);
  const first = await kms.ask('/deks', { key_id: 'k1' });
  assert.equal(first.status, 201);
  assert.equal((await kms.ask('/deks', { key_id: 'k1' })).status, 409);
  const racing = await Promise.all(Array.from({ length: 16 }, () => kms.ask('/deks', { key_id: 'k2' })));
  assert.deepEqual(racing.map(({ status }) => status).sort(), [
    201,
    ...Array.from({ length: 15 }, () => 409),
  ]);
  assert.equal((await kms.ask('/get_wrapped?key_id=k1')).body.wrapped, first.body.wrapped);
});

test('after a rotation of the KEK every DEK opens by the new one, and each has one snapshot', async (t) => {
  const kms = await deks(t);
  const ids = Array.from({ length: 150 }, (_, n) => `key-${n}`);
  const ciphertexts = new Map<string, string>();
  for (const key_id of ids) {
    await kms.ask('/deks', { key_id });
    const plaintext = b64(key_id);
    ciphertexts.set(key_id, (await kms.ask('/encrypt', { key_id, plaintext })).body.ciphertext);
  }
  const rotated = await kms.ask('/rotate_kek', {});
  assert.deepEqual(
    [rotated.status, rotated.body.status, rotated.body.kek_version, rotated.body.rewrapped],
    [200, 'ok', 2, 150],
  );
  assert.deepEqual(snapshotsOf(kms), ids.map((id) => `kek-v2/${id}.json`).sort());
  const again = await kms.restart();
  for (const [key_id, ciphertext] of ciphertexts) {
    const opened = await again.ask('/decrypt', { key_id, ciphertext });
    assert.equal(Buffer.from(opened.body.plaintext, 'base64').toString(), key_id);
    assert.equal((await again.ask(`/get_wrapped?key_id=${key_id}`)).body.kek_version, 2);
  }
  const { keks, rotation } = (await again.ask('/keks')).body;
  assert.deepEqual(
    keks.map(({ kek_version, state }: { kek_version: number; state: string }) => [kek_version, state]),
    [
      [2, 'current'],
      [1, 'old'],
    ],
  );
  assert.equal(rotation, null);
});

test('without snapshots to keep, the old KEK is destroyed; with wrappings of callers it stays', async (t) => {
  const kms = await deks(t, { KMS_DEK_SNAPSHOT_DAYS: '0' });
  await kms.ask('/deks', { key_id: 'k1' });
  await kms.ask('/rotate_kek', {});
  const states = async () =>
    (await kms.ask('/keks')).body.keks.map((kek: { kek_version: number; state: string }) => kek.state);
  assert.deepEqual(await states(), ['current', 'destroyed']);
  assert.deepEqual(snapshotsOf(kms), []);
  const { wrapped } = (await kms.ask('/wrap', { plaintext: b64('mine'), aad: b64('x') })).body;
  await kms.ask('/rotate_kek', {});
  assert.deepEqual(await states(), ['current', 'old', 'destroyed']);
  const opened = await kms.ask('/unwrap', { wrapped, aad: b64('x') });
  assert.equal(opened.body.plaintext, b64('mine'));
  assert.equal((await kms.ask('/unwrap', { wrapped })).status, 400);
});

test('a rotation of the KEK that leaves a DEK behind is 409 with counts, and the old KEK goes on opening it', async (t) => {
  const kms = await deks(t, { KMS_DEK_SNAPSHOT_DAYS: '0' });
  for (const key_id of ['k1', 'k2', 'k3']) await kms.ask('/deks', { key_id });
  const { ciphertext } = (await kms.ask('/encrypt', { key_id: 'k1', plaintext: b64('x') })).body;
  await kms.service.stop();
  await withStore(kms.dataDir, (store) => store.commit([{ key: 'meta:k2', value: Buffer.from('altered') }]));
  await acceptTampered({ dataDir: kms.dataDir, env: { KMS_DEK: 'true', KMS_DEK_SNAPSHOT_DAYS: '0' } });
  const again = await kms.restart();
  for (const kek of [2, 3]) {
    const { status, body } = await again.ask('/rotate_kek', {});
    assert.deepEqual([status, body.code, 'status' in body], [409, 'Conflict', false]);
    assert.match(
      body.error,
      new RegExp(`version ${kek} and wraps 2 DEKs more; 0 do not open, and 1 records`),
    );
  }
  const { keks, rotation } = (await again.ask('/keks')).body;
  assert.deepEqual(
    keks.map(({ state }: { state: string }) => state),
    ['current', 'old', 'old'],
  );
  assert.equal(rotation, null);
  assert.equal((await again.ask('/decrypt', { key_id: 'k1', ciphertext })).body.plaintext, b64('x'));
  assert.match(again.service.log.join('\n'), /LEFT DEKs BEHIND/);
});

test('a DEK that is rotated encrypts by its new version, and opens what the old one made', async (t) => {
  const kms = await deks(t);
  const key_id = 'k1';
  await kms.ask('/deks', { key_id });
  const before = (await kms.ask('/encrypt', { key_id, plaintext: b64('before') })).body;
  const rotated = await kms.ask('/rotate_dek', { key_id });
  assert.deepEqual([rotated.status, rotated.body.key_version], [200, 2]);
  const after = (await kms.ask('/encrypt', { key_id, plaintext: b64('after') })).body;
  assert.deepEqual([before.key_version, after.key_version], [1, 2]);
  for (const [{ ciphertext, key_version }, text] of [
    [before, 'before'],
    [after, 'after'],
  ] as const) {
    assert.equal((await kms.ask('/decrypt', { key_id, ciphertext })).body.plaintext, b64(text));
    assert.equal((await kms.ask('/decrypt', { key_id, ciphertext, key_version })).body.plaintext, b64(text));
  }
  const { ciphertext } = before;
  assert.equal((await kms.ask('/decrypt', { key_id, ciphertext, key_version: 2 })).status, 400);
  assert.equal((await kms.ask('/decrypt', { key_id, ciphertext, key_version: 3 })).status, 404);
});

test('nothing decrypts what a destroyed DEK encrypted, and its snapshots are gone', async (t) => {
  const kms = await deks(t);
  const key_id = 'k1';
  await kms.ask('/deks', { key_id });
  const { ciphertext } = (await kms.ask('/encrypt', { key_id, plaintext: b64('secret') })).body;
  await kms.ask('/rotate_kek', {});
  assert.deepEqual(snapshotsOf(kms), ['kek-v2/k1.json']);
  assert.equal((await kms.ask('/destroy_dek', { key_id })).status, 200);
  assert.equal((await kms.ask('/destroy_dek', { key_id })).status, 200);
  assert.deepEqual(snapshotsOf(kms), []);
  const again = await kms.restart();
  for (const [path, body] of [
    ['/decrypt', { key_id, ciphertext }],
    ['/encrypt', { key_id, plaintext: '' }],
    ['/rotate_dek', { key_id }],
    ['/rewrap', { key_id }],
    ['/deks', { key_id }],
  ] as const)
    assert.equal((await again.ask(path, body)).status, 409, path);
  assert.equal((await again.ask('/get_wrapped?key_id=k1')).status, 409);
});

test('DEKs that are made, rotated and destroyed during a rotation of the KEK are all behind none', async (t) => {
  const kms = await deks(t);
  for (let n = 0; n < 100; n++) await kms.ask('/deks', { key_id: `old-${n}` });
  const work = async (n: number) => {
    const made = await kms.ask('/deks', { key_id: `new-${n}` });
    const changed = await kms.ask('/rotate_dek', { key_id: `old-${n}` });
    const gone = await kms.ask('/destroy_dek', { key_id: `old-${n + 50}` });
    return [made.status, changed.status, gone.status];
  };
  const [rotated, ...others] = await Promise.all([
    kms.ask('/rotate_kek', {}),
    ...Array.from({ length: 50 }, (_, n) => work(n)),
  ]);
  assert.equal(rotated.status, 200);
  for (const [made, , gone] of others) {
    // The KEK may change between the wrapping of a new DEK and its record.
    assert.ok(made === 201 || made === 503, `${made}`);
    assert.equal(gone, 200);
  }
  const { deks: all } = (await kms.ask('/deks')).body;
  for (const { key_id, versions } of all)
    for (const { kek_version } of versions) assert.equal(kek_version, 2, key_id);
});

test('two rotations of the KEK at once are one, and the other is told so', async (t) => {
  const kms = await deks(t);
  for (let n = 0; n < 70; n++) await kms.ask('/deks', { key_id: `k${n}` });
  const both = await Promise.all([kms.ask('/rotate_kek', {}), kms.ask('/rotate_kek', {})]);
  assert.deepEqual(both.map(({ status }) => status).sort(), [200, 409]);
});

test('a KEK in the clear is taken where the configuration says so, and never a weak one', async (t) => {
  const kms = await deks(t, { KMS_DEK_ALLOW_PLAIN_KEK: 'true' });
  await kms.ask('/deks', { key_id: 'k1' });
  const { ciphertext } = (await kms.ask('/encrypt', { key_id: 'k1', plaintext: b64('x') })).body;
  for (const weak of ['00'.repeat(32), 'ff'.repeat(32), Buffer.from([...Array(32).keys()]).toString('hex')])
    assert.equal((await kms.ask('/rotate_kek', { new_kek_hex: weak })).status, 400);
  const rotated = await kms.ask('/rotate_kek', { new_kek_hex: randomBytes(32).toString('hex') });
  assert.deepEqual([rotated.status, rotated.body.kek_version], [200, 2], JSON.stringify(rotated.body));
  assert.equal((await kms.ask('/decrypt', { key_id: 'k1', ciphertext })).body.plaintext, b64('x'));
  const strict = await deks(t);
  const refused = await strict.ask('/rotate_kek', { new_kek_hex: randomBytes(32).toString('hex') });
  assert.equal(refused.status, 403);
});

test('bad requests have typed errors and change nothing', async (t) => {
  const kms = await deks(t);
  const key_id = 'k1';
  await kms.ask('/deks', { key_id });
  const cases: readonly (readonly [string, unknown, number])[] = [
    ['/encrypt', { key_id, plaintext: 'not base64!' }, 400],
    ['/encrypt', { key_id, plaintext: 7 }, 400],
    ['/encrypt', { key_id }, 400],
    ['/encrypt', { key_id, plaintext: '', surplus: 1 }, 400],
    ['/encrypt', { key_id, plaintext: b64(new Uint8Array(65_537)) }, 400],
    ['/encrypt', { key_id: 'unknown', plaintext: '' }, 404],
    ['/encrypt', { key_id, plaintext: '', aad: '?' }, 400],
    ['/decrypt', { key_id, ciphertext: b64(new Uint8Array(27)) }, 400],
    ['/decrypt', { key_id, ciphertext: b64(randomBytes(40)) }, 400],
    ['/unwrap', { wrapped: b64(randomBytes(60)) }, 400],
    ['/unwrap', { wrapped: '' }, 400],
    ['/deks', { key_id: '../etc/passwd' }, 400],
    ['/deks', { key_id: '..' }, 400],
    ['/deks', { key_id: 'x'.repeat(129) }, 400],
    ['/create_dek_for_thread', { thread_id: 'two words' }, 400],
    ['/create_dek_for_thread', {}, 400],
    ['/rotate_kek', { new_kek_hex: 'abc' }, 400],
    ['/destroy_dek', { key_id: 'unknown' }, 404],
    ['/nowhere', {}, 404],
  ];
  for (const [path, body, status] of cases) {
    const refused = await kms.ask(path, body);
    assert.equal(refused.status, status, `${path} ${JSON.stringify(body).slice(0, 80)}`);
  }
  assert.equal((await kms.ask('/get_wrapped')).status, 400);
  for (const odd of ['', '%00', '..', '../x', 'a/b', 'x'.repeat(7_000), '%C3%A9', '%ED%A0%80', 'k1%0A', '%'])
    assert.equal((await kms.ask(`/get_wrapped?key_id=${odd}`)).status, 400, odd.slice(0, 20));
  for (const [path, more] of [
    ['/encrypt', { plaintext: '' }],
    ['/decrypt', { ciphertext: b64(new Uint8Array(28)) }],
    ['/rewrap', {}],
    ['/rotate_dek', {}],
    ['/destroy_dek', {}],
  ] as const)
    for (const odd of ['..', '../../x', 'a\0b', '\0', 'é', '\ud800', ' k1', 'k1\n', 'x'.repeat(4_096)])
      assert.equal(
        (await kms.ask(path, { key_id: odd, ...more })).status,
        400,
        `${path} ${odd.slice(0, 20)}`,
      );
  assert.equal((await kms.ask('/wrap', undefined, 'GET')).status, 405);
  assert.equal((await kms.ask('/keks', undefined, 'HEAD')).status, 200);
  assert.deepEqual(Object.keys((await kms.ask('/deks', { key_id: '?' })).body).sort(), [
    'code',
    'error',
    'request_id',
  ]);
});

test('a backup has neither the pages of the store nor snapshots of DEKs, however many, and what it restores is whole', async (t) => {
  const kms = await deks(t);
  for (const key_id of ['kept', 'gone']) await kms.ask('/deks', { key_id });
  const { ciphertext } = (await kms.ask('/encrypt', { key_id: 'kept', plaintext: b64('x') })).body;
  await kms.ask('/rotate_kek', {});
  await kms.ask('/destroy_dek', { key_id: 'gone' });
  const { dataDir } = kms;
  for (let n = 0; n < 1_100; n++)
    writeFileSync(join(dataDir, 'kms-deks-backup', 'kek-v2', `k${n}.json`), '{}');
  const out = join(temporaryDirectory(t), 'kms.age');
  const identity = await generateX25519Identity();
  const by = join(temporaryDirectory(t), 'identity');
  writeFileSync(by, `${identity}\n`, { mode: 0o600 });
  const to = ['--recipient', await identityToRecipient(identity)];
  const made = await intaglio(['backup', 'create', '--out', out, ...to, '--data-dir', dataDir]);
  assert.equal(made.status, 0, made.stderr);
  const restoredTo = join(temporaryDirectory(t), 'data');
  const restored = await intaglio([
    'backup',
    'restore',
    '--in',
    out,
    '--identity',
    by,
    '--data-dir',
    restoredTo,
  ]);
  assert.equal(restored.status, 0, restored.stderr);
  const names = readdirSync(restoredTo);
  for (const name of ['kms.db', 'kms-audit.log', 'kms-audit.head', 'kms-deks-backup'])
    assert.ok(!names.includes(name), name);
  assert.deepEqual(
    readFileSync(join(restoredTo, 'kms-audit.key')),
    readFileSync(join(dataDir, 'kms-audit.key')),
  );
  await kms.service.stop();
  const again = await deks(t, {}, restoredTo);
  assert.equal((await again.ask('/decrypt', { key_id: 'kept', ciphertext })).body.plaintext, b64('x'));
  assert.equal((await again.ask('/get_wrapped?key_id=gone')).status, 409);
  await again.service.stop();
  assert.equal(readlinkSync(join(restoredTo, 'kms.db')), 'store/data.mdb');
  assert.equal((await intaglio(['dek', 'audit', '--data-dir', restoredTo])).status, 0);
});

test('another tenant reaches nothing', async (t) => {
  const kms = await deks(t);
  await kms.ask('/deks', { key_id: 'k1' });
  const token = await kms.service.mint('other', 'kms:read,kms:encrypt,kms:create');
  for (const [path, body] of [
    ['/encrypt', { key_id: 'k1', plaintext: '' }],
    ['/deks', { key_id: 'k3' }],
  ] as const) {
    const { status } = await kms.service.send({ method: 'POST', path, token, body: JSON.stringify(body) });
    assert.equal(status, 403, path);
  }
});

test('the audit log tells of each use which DEK it was, and no key is in the data directory', async (t) => {
  const kms = await deks(t);
  await kms.ask('/deks', { key_id: 'k1' });
  await kms.ask('/encrypt', { key_id: 'k1', plaintext: b64('x') });
  await kms.ask('/destroy_dek', { key_id: 'k1' });
  const { status, text } = await kms.service.send({
    ...{ method: 'GET', path: '/v1/kms/audit/records?limit=20' },
    token: await kms.service.mint('dek', 'kms:audit'),
  });
  assert.equal(status, 200, text);
  const types = JSON.parse(text).records.map(({ record: { type, data } }: Recorded) => [type, data?.dek]);
  for (const wanted of ['dek.create', 'dek.use', 'dek.destroy'])
    assert.ok(
      types.some(([type, dek]: string[]) => type === wanted && dek === 'k1'),
      `${wanted} ${text}`,
    );
  assert.ok(readFileSync(join(kms.dataDir, 'root.key')).length === 32);
});

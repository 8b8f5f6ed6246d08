import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { rmSync, statfsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { startInProcess } from '../support/in-process.ts';
import { assertFailed } from '../support/requests.ts';
import { call, helloWorldB3, type InProcessService, temporaryDirectory } from '../support/service.ts';

const mib = 1024 * 1024;

function callerOf(service: InProcessService, token: string) {
  const post = (path: string, body: unknown) => call(service, token, 'POST', `/v1/kms${path}`, body);
  return {
    create: () => post('/keys', { purpose: 'p', alg: 'ed25519' }),
    rotate: (kid: string) => post(`/keys/${encodeURIComponent(kid.replace(/#v.*/, ''))}/rotate`, {}),
    destroy: (kid: string) => post(`/keys/${encodeURIComponent(kid.replace(/#v.*/, ''))}/destroy`, {}),
    sign: (kid: string) => post('/sign', { kid, payload_b3: helloWorldB3 }),
  };
}

test('creates and rotations of a tenant share one rate, destructions have another', {
  timeout: 120_000,
}, async (t) => {
  const service = await startInProcess({
    env: {
      KMS_BACKEND: 'memory',
      KMS_CREATE_RATE_LIMIT: '1',
      KMS_DESTROY_RATE_LIMIT: '1',
      KMS_KEYS_PER_TENANT: '20',
    },
  });
  t.after(() => service.stop());
  const { create, rotate, destroy } = callerOf(service, await service.mint('acme'));
  const beganMs = performance.now();
  const { kid } = (await create()).body;
  let made = 1;
  let refused: Awaited<ReturnType<typeof rotate>> | undefined;
  for (let n = 0; n < 500 && refused === undefined; n++) {
    const answer = await (n % 2 === 0 ? rotate(kid) : create());
    if (answer.status === 429) refused = answer;
    else made++;
  }
  assertFailed(refused as NonNullable<typeof refused>, 429, 'RateLimited');
  assert.ok(made >= 10, 'ten seconds of it may come at once');
  assert.ok(made <= 11 + (performance.now() - beganMs) / 1_000, `${made} were made`);
  const other = callerOf(service, await service.mint('beta'));
  assert.equal((await other.create()).status, 201, 'another tenant is not concerned');

  const gone = await Promise.all(Array.from({ length: 50 }, () => destroy(kid)));
  assert.ok(gone.some(({ status }) => status === 200));
  assert.ok(gone.some(({ status }) => status === 429));
});

test('a tenant has KMS_KEYS_PER_TENANT keys at most', { timeout: 120_000 }, async (t) => {
  const service = await startInProcess({ env: { KMS_BACKEND: 'memory', KMS_KEYS_PER_TENANT: '2' } });
  t.after(() => service.stop());
  const { create, rotate, destroy } = callerOf(service, service.token);
  const { kid } = (await create()).body;
  assert.equal((await create()).status, 201);
  assertFailed(await create(), 409, 'Conflict');
  assert.equal((await rotate(kid)).status, 200);
  assert.equal((await destroy(kid)).status, 200);
  assert.equal((await create()).status, 201);
});

/** A disk of its own; undefined where this user may not mount. */
function smallDisk(t: TestContext, bytes: number): string | undefined {
  const directory = temporaryDirectory();
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${bytes},mode=0700`, 'intaglio-test', directory], {
      stdio: 'ignore',
    });
  } catch {
    return undefined;
  }
  t.after(() => void execFileSync('umount', ['--lazy', directory]));
  return directory;
}

test('new keys stop before the disk is too full for signing, first those of who made most', {
  timeout: 120_000,
}, async (t) => {
  const disk = smallDisk(t, 200 * mib);
  if (disk === undefined) return t.skip('needs the right to mount a tmpfs');
  const service = await startInProcess({ dataDir: join(disk, 'data') });
  t.after(() => service.stop());
  const many = callerOf(service, await service.mint('many'));
  const few = callerOf(service, await service.mint('few'));
  const { kid } = (await many.create()).body;
  for (let n = 0; n < 5; n++) assert.equal((await many.create()).status, 201);
  const own = (await few.create()).body.kid;
  const filler = join(disk, 'filler');
  const leave = (bytes: number) => {
    rmSync(filler, { force: true });
    const { bavail, bsize } = statfsSync(disk);
    writeFileSync(filler, Buffer.alloc(bavail * bsize - bytes));
  };

  leave(80 * mib);
  assertFailed(await many.create(), 503, 'StoreUnavailable');
  assertFailed(await many.rotate(kid), 503, 'StoreUnavailable');
  assert.equal((await few.create()).status, 201);

  leave(50 * mib);
  const refused = await few.create();
  assertFailed(refused, 503, 'StoreUnavailable');
  assert.ok(refused.headers.has('retry-after'));
  for (const [{ sign }, key] of [
    [many, kid],
    [few, own],
  ] as const) {
    assert.equal((await sign(key)).status, 200, 'keys go on signing');
  }
  assert.equal((await many.destroy(kid)).status, 200);

  rmSync(filler);
  assert.equal((await many.create()).status, 201);
});

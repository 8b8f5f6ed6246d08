import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { startInProcess } from '../support/in-process.ts';
import {
  type Askable,
  call,
  callForBytes,
  helloWorldB3,
  startService,
  temporaryDirectory,
} from '../support/service.ts';
import { done, make, restore } from './backups.ts';

const cli = join(import.meta.dirname, '..', '..', 'src', 'cli', 'main.ts');
const idOf = (kid: string) => kid.split('#')[0] as string;

interface Caller extends Readonly<{ token: string }> {
  readonly service: Askable;
}

const post = ({ service, token }: Caller, path: string, body: object) =>
  call(service, token, 'POST', `/v1/kms${path}`, body);
const sign = (caller: Caller, kid: string) =>
  post(caller, '/sign', { kid: idOf(kid), payload_b3: helloWorldB3 });

/** Makes, uses, rotates and destroys keys until it is told to stop. */
function load(caller: Caller): { stop(): Promise<readonly string[]> } {
  let stopped = false;
  const left: string[] = [];
  // On a machine that is busy it goes on until there is something to look at.
  const goesOn = () => !stopped || left.length < 3;
  const loop = async (destroys: boolean) => {
    for (let n = 0; goesOn(); n++) {
      const made = await post(caller, '/keys', { purpose: 'load', alg: 'ed25519' });
      assert.equal(made.status, 201, JSON.stringify(made.body));
      const { kid } = made.body;
      assert.equal((await sign(caller, kid)).status, 200);
      const path = `/keys/${encodeURIComponent(idOf(kid))}`;
      for (let turn = 0; turn < 2; turn++)
        assert.equal((await post(caller, `${path}/rotate`, {})).status, 200);
      assert.equal((await sign(caller, kid)).status, 200);
      if (destroys && n % 2 === 1) assert.equal((await post(caller, `${path}/destroy`, {})).status, 200);
      else left.push(kid);
    }
  };
  const loops = Promise.all([loop(true), loop(false)]);
  return {
    async stop() {
      stopped = true;
      await loops;
      return left;
    },
  };
}

/** `audit verify` on the log as it lies in a data directory, with the keys that its service said. */
function verifyLog(dataDir: string, vkeys: string): void {
  const file = join(temporaryDirectory(), 'audit.vkeys');
  writeFileSync(file, vkeys);
  const args = ['audit', 'verify', join(dataDir, 'audit'), '--keys', file];
  const verified = spawnSync(process.execPath, [cli, ...args], { encoding: 'utf8' });
  assert.equal(verified.status, 0, `${verified.stdout}${verified.stderr}`);
}

test('backups beside a service that makes, uses, rotates and destroys keys: each restores, starts, signs and verifies', {
  timeout: 120_000,
}, async () => {
  const service = await startService();
  const caller = { service, token: service.token };
  const before = (await post(caller, '/keys', { purpose: 'before', alg: 'ed25519' })).body.kid;
  const vkeys = (await callForBytes(service, service.token, 'GET', '/v1/kms/audit/vkeys')).text;
  const loaded = load(caller);
  const backups: string[] = [];
  for (let n = 0; n < 2; n++) {
    const out = join(temporaryDirectory(), 'kms.age');
    const { head, manifest } = done(await make(service.dataDir, out));
    assert.equal(head.live, true);
    const { checkpoint, anchorSize } = manifest;
    assert.ok(checkpoint !== undefined && checkpoint.size >= anchorSize, 'at or after the snapshot');
    backups.push(out);
  }
  const left = await loaded.stop();
  assert.ok(left.length > 2);
  for (const kid of left) assert.equal((await sign(caller, kid)).status, 200);
  assert.equal(await service.stop(), 0);

  for (const out of backups) {
    const target = join(temporaryDirectory(), 'restored');
    done(await restore(out, target));
    verifyLog(target, vkeys);
    for (let round = 0; round < 2; round++) {
      const restored = await startInProcess({ dataDir: target });
      const other = { service: restored, token: restored.token };
      const ready = await call(restored, undefined, 'GET', '/readyz');
      assert.equal(ready.status, 200, `${JSON.stringify(ready.body)} ${restored.log.join('\n')}`);
      assert.equal((await sign(other, before)).status, 200);
      const { keys } = (await call(restored, restored.token, 'GET', '/v1/kms/keys?limit=1000')).body;
      for (const { kid, state } of keys as { kid: string; state: string }[]) {
        if (state === 'active') assert.equal((await sign(other, kid)).status, 200, kid);
      }
      assert.equal(await restored.stop(), 0);
      verifyLog(target, vkeys);
    }
  }
});

test('a backup of what a killed service left restores, starts and signs', async () => {
  const service = await startService();
  const caller = { service, token: service.token };
  const { kid } = (await post(caller, '/keys', { purpose: 'before', alg: 'ed25519' })).body;
  const loaded = load(caller).stop();
  assert.equal((await sign(caller, kid)).status, 200);
  await loaded;
  await service.kill();
  const out = join(temporaryDirectory(), 'kms.age');
  done(await make(service.dataDir, out));
  const target = join(temporaryDirectory(), 'restored');
  done(await restore(out, target));
  const restored = await startInProcess({ dataDir: target });
  assert.equal((await call(restored, undefined, 'GET', '/readyz')).status, 200);
  assert.equal((await sign({ service: restored, token: restored.token }, kid)).status, 200);
  assert.equal(await restored.stop(), 0);
});

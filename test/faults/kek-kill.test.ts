import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { type DekService, dekConfig, startDekService } from '../support/serve-dek.ts';
import { temporaryDirectory } from '../support/temporary-directory.ts';

const kills = Number(process.env.DRILL_KILLS ?? 2);
const count = Number(process.env.DRILL_DEKS ?? 150);
const b64 = (text: string) => Buffer.from(text).toString('base64');

/** In bunches, as callers do. */
async function eachOf<T>(items: readonly T[], act: (item: T) => Promise<void>): Promise<void> {
  for (let at = 0; at < items.length; at += 64) await Promise.all(items.slice(at, at + 64).map(act));
}

async function idle(kms: DekService): Promise<void> {
  for (;;) {
    const { body } = await kms.ask('/keks');
    if (body.rotation === null) return;
    await delay(20);
  }
}

test(`kill -9 at ${kills} random points of rotations of the KEK over ${count} DEKs: each goes on, and nothing is lost`, async (t) => {
  const directory = temporaryDirectory(t);
  const config = dekConfig(directory, 'dek.yaml');
  const env = { KMS_CREATE_RATE_LIMIT: '0', KMS_LOG_LEVEL: 'info' };
  let kms = await startDekService(directory, config, env);
  const ids = Array.from({ length: count }, (_, n) => `key-${n}`);
  const ciphertexts = new Map<string, string>();
  await eachOf(ids, async (key_id) => {
    assert.equal((await kms.ask('/deks', { key_id })).status, 201);
    ciphertexts.set(key_id, (await kms.ask('/encrypt', { key_id, plaintext: b64(key_id) })).body.ciphertext);
  });
  // How long one takes here.
  const beganMs = performance.now();
  assert.equal((await kms.ask('/rotate_kek', {})).body.rewrapped, count);
  const tookMs = performance.now() - beganMs;
  let version = 2;
  let inside = 0;
  for (let kill = 0; kill < kills; kill++) {
    const rotating = kms.ask('/rotate_kek', {}).then(
      ({ status }) => status,
      () => 0,
    );
    // At random, once within each part of it.
    await delay(((kill + Math.random()) / kills) * tookMs * 1.1);
    await kms.process.kill();
    if ((await rotating) !== 200) inside++;
    kms = await startDekService(directory, config, env);
    await idle(kms);
    const { keks } = (await kms.ask('/keks')).body;
    // Nothing of it had reached the disk, or all of it comes to be.
    const now = keks[0].kek_version;
    assert.ok(now === version || now === version + 1, `${now} after ${version}`);
    if (now === version) continue;
    version = now;
    const names = readdirSync(join(directory, 'data', 'kms-deks-backup', `kek-v${version}`)).sort();
    assert.deepEqual(names, [...ids.map((id) => `${id}.json`), 'keks'].sort());
  }
  await eachOf(ids, async (key_id) => {
    const { body } = await kms.ask('/decrypt', { key_id, ciphertext: ciphertexts.get(key_id) });
    assert.equal(body.plaintext, b64(key_id), key_id);
    assert.equal((await kms.ask(`/get_wrapped?key_id=${key_id}`)).body.kek_version, version);
  });
  await kms.process.stop();
  t.diagnostic(
    `${kills} kills, ${inside} inside of a rotation of ${Math.round(tookMs)} ms; version ${version}`,
  );
});

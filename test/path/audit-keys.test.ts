import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { intaglio } from '../cli/intaglio.ts';
import { startInProcess } from '../support/in-process.ts';
import {
  call,
  callForBytes,
  helloWorldB3,
  type RunningService,
  startService,
  temporaryDirectory,
} from '../support/service.ts';

const vkeysOf = async (service: RunningService) =>
  (await call(service, service.token, 'GET', '/v1/kms/audit/vkeys')).body as {
    vkeys: string[];
    replaced?: { vkeys: string[]; until: string };
  };

test('the keys of the log are replaced, a kill on the way changes nothing, and an auditor with the old ones follows', {
  timeout: 60_000,
}, async () => {
  const place = temporaryDirectory();
  const dataDir = join(place, 'data');
  const env = { KMS_AUDIT_KEY_OVERLAP_MS: '600000' };
  const first = await startService({ dataDir, env });
  const made = await call(first, first.token, 'POST', '/v1/kms/keys', { purpose: 'test', alg: 'ed25519' });
  const old = await vkeysOf(first);
  assert.equal(old.replaced, undefined);
  const [oldKeys, newKeys] = [join(place, 'old.vkeys'), join(place, 'new.vkeys')];
  writeFileSync(oldKeys, `${old.vkeys.join('\n')}\n`);

  const rotate = (token: string) => call(first, token, 'POST', '/v1/kms/audit/rotate-keys', {});
  assert.equal((await rotate(await first.mint('acme', 'kms:admin'))).status, 403, 'another tenant');
  assert.equal((await rotate(await first.mint('default', 'kms:audit'))).status, 403, 'an auditor');
  const token = join(dataDir, 'bootstrap.token');
  const asked = await intaglio(['audit', 'rotate-keys', '--url', first.url, '--token-file', token]);
  assert.equal(asked.status, 0, asked.stderr);
  const rotated = JSON.parse(asked.stdout) as Awaited<ReturnType<typeof vkeysOf>>;
  assert.deepEqual(rotated.replaced?.vkeys, old.vkeys);
  assert.deepEqual(await vkeysOf(first), rotated);
  assert.ok(rotated.vkeys.every((vkey) => !old.vkeys.includes(vkey)));
  assert.equal((await rotate(first.token)).body.error.code, 'Conflict');
  await first.kill();

  // Killed in the overlap: both still sign.
  const second = await startInProcess({ dataDir, env });
  assert.deepEqual(await vkeysOf(second), rotated);
  assert.equal(await second.stop(), 0);
  const both = readFileSync(join(dataDir, 'audit', 'e1', 'checkpoint'), 'utf8');
  assert.equal(both.split('\n').filter((line) => line.startsWith('\u2014')).length, 4);

  const third = await startInProcess({ dataDir, env: { KMS_AUDIT_KEY_OVERLAP_MS: '0' } });
  const sign = { kid: made.body.kid, payload_b3: helloWorldB3 };
  assert.equal((await call(third, third.token, 'POST', '/v1/kms/sign', sign)).status, 200);
  assert.equal((await vkeysOf(third)).replaced?.until, rotated.replaced?.until, 'what was announced holds');
  assert.equal(await third.stop(), 0);

  const audit = join(dataDir, 'audit');
  const exported = join(place, 'export');
  assert.equal((await intaglio(['audit', 'export', audit, exported])).status, 0);
  for (const log of [audit, exported]) {
    const verified = await intaglio([
      'audit',
      'verify',
      log,
      '--keys',
      oldKeys,
      '--save-keys',
      newKeys,
      '--json',
    ]);
    assert.equal(verified.status, 0, verified.stderr);
    const facts = JSON.parse(verified.stdout);
    assert.deepEqual([facts.signatures.length, facts.transitions.length], [4, 2]);
    assert.deepEqual(readFileSync(newKeys, 'utf8').trim().split('\n'), rotated.vkeys);
  }
  assert.equal((await intaglio(['audit', 'verify', audit, '--keys', newKeys])).status, 0);
});

test('after the overlap the old keys sign no more', { timeout: 60_000 }, async () => {
  const place = temporaryDirectory();
  const dataDir = join(place, 'data');
  const service = await startInProcess({ dataDir, env: { KMS_AUDIT_KEY_OVERLAP_MS: '0' } });
  const oldKeys = join(place, 'old.vkeys');
  const old = await vkeysOf(service);
  writeFileSync(oldKeys, `${old.vkeys.join('\n')}\n`);
  const auditor = await service.mint('acme', 'kms:audit');
  for (let rotations = 1; rotations <= 2; rotations++) {
    const rotated = await call(service, service.token, 'POST', '/v1/kms/audit/rotate-keys', {});
    assert.equal(rotated.status, 200, JSON.stringify(rotated.body));
    while ((await vkeysOf(service)).replaced !== undefined) {
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    const proof = await callForBytes(service, auditor, 'GET', `/v1/kms/audit/keys/${rotations}.tlog-proof`);
    assert.equal(proof.status, 200);
    assert.match(proof.text, /^c2sp\.org\/tlog-proof@v1\n/);
  }
  const newest = await vkeysOf(service);
  assert.equal(await service.stop(), 0);

  const audit = join(dataDir, 'audit');
  const newKeys = join(place, 'new.vkeys');
  const args = ['audit', 'verify', audit, '--keys', oldKeys, '--save-keys', newKeys, '--json'];
  const verified = await intaglio(args);
  assert.equal(verified.status, 0, verified.stderr);
  const facts = JSON.parse(verified.stdout);
  assert.deepEqual([facts.signatures.length, facts.transitions.length], [2, 4]);
  assert.deepEqual(readFileSync(newKeys, 'utf8').trim().split('\n'), newest.vkeys);

  const again = await startInProcess({ dataDir });
  assert.equal((await call(again, undefined, 'GET', '/readyz')).status, 200);
  assert.deepEqual(await vkeysOf(again), newest);
  assert.equal(await again.stop(), 0);
});

test('a service that is killed while its keys are replaced starts again and finishes that', {
  timeout: 60_000,
}, async () => {
  const dataDir = temporaryDirectory();
  const env = { KMS_AUDIT_KEY_OVERLAP_MS: '0' };
  const oldKeys = join(dataDir, 'old.vkeys');
  // From the first write to the store until the new keys sign: some 50 ms here.
  for (const delayMs of [0, 5, 15, 40]) {
    const service = await startService({ dataDir, env });
    while ((await vkeysOf(service)).replaced !== undefined) {
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    if (delayMs === 0) writeFileSync(oldKeys, `${(await vkeysOf(service)).vkeys.join('\n')}\n`);
    const rotating = call(service, service.token, 'POST', '/v1/kms/audit/rotate-keys', {});
    rotating.catch(() => undefined);
    await new Promise((resolve) => setTimeout(resolve, delayMs));
    await service.kill();
  }
  const last = await startInProcess({ dataDir, env });
  assert.equal((await call(last, undefined, 'GET', '/readyz')).status, 200);
  const made = await call(last, last.token, 'POST', '/v1/kms/keys', { purpose: 'test', alg: 'ed25519' });
  assert.equal(made.status, 201);
  assert.equal(await last.stop(), 0);
  const verified = await intaglio(['audit', 'verify', join(dataDir, 'audit'), '--keys', oldKeys]);
  assert.equal(verified.status, 0, verified.stdout + verified.stderr);
});

import assert from 'node:assert/strict';
import { cpSync, rmSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { systemFiles } from '../../../src/audit/disk/files.ts';
import { signatureTypes } from '../../../src/audit/format/note.ts';
import { openLogReader } from '../../../src/audit/reading/log-reader.ts';
import { newSkey, parseSkey } from '../../../src/audit/witness/keys.ts';
import { type PolicyWitness, thresholdPolicy } from '../../../src/audit/witness/policy.ts';
import { fileStore } from '../../../src/audit/witness/state.ts';
import { Witness } from '../../../src/audit/witness/witness.ts';
import { witnessServer } from '../../../src/audit/witness/witness-server.ts';
import { witnessesOf } from '../../support/audit-witnesses.ts';
import { temporaryDirectory } from '../../support/temporary-directory.ts';
import { appendMany, event, machine, origin, startLog } from '../support/log.ts';
import { seededSigner } from '../support/signers.ts';
import { keyOf } from './vectors.ts';

async function witnessOfLog(context: TestContext): Promise<PolicyWitness> {
  const key = parseSkey(newSkey('witness.example/w', signatureTypes.ed25519Cosignature));
  assert.ok(key.ok);
  const keysOfLog = [seededSigner('ed25519', origin), seededSigner('mlDsa44', origin)];
  const core = new Witness({
    signers: [key.value.signer],
    logs: new Map([[origin, keysOfLog.map(({ vkey }) => keyOf(vkey))]]),
    store: fileStore(temporaryDirectory(context), [key.value.key]),
    nowS: () => Math.floor(Date.now() / 1000),
  });
  const server = witnessServer(core, (error) => assert.fail(String(error)));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  context.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return { name: 'w', key: key.value.key, url };
}

function witnessing(directory: string, witness: PolicyWitness) {
  const policy = thresholdPolicy([witness], 1);
  assert.ok(policy.ok);
  const ahead: { witness: string; size: number; ownSize: number }[] = [];
  const witnesses = witnessesOf({
    policy: policy.value,
    fail: 'closed',
    timeoutMs: 5_000,
    tiles: () => openLogReader(join(directory, 'audit')),
    onAhead: (found, ownSize) => ahead.push({ ...found, ownSize }),
  });
  return { ahead, witnesses };
}

test('a record at the level `witnessed` is answered once a witness has cosigned a checkpoint over it', async (context) => {
  const directory = temporaryDirectory(context);
  const { witnesses } = witnessing(directory, await witnessOfLog(context));
  const { log } = await startLog(machine(systemFiles), { directory, parts: { witness: witnesses.witness } });
  await appendMany(log, 40);
  assert.ok(log.reserve(1));
  const outcome = await log.append(event(), 'witnessed');
  assert.ok(outcome.ok);
  const [held] = await witnesses.held(origin);
  assert.ok(held !== undefined && held.size > outcome.value.index);
  assert.match(log.checkpoint()!.note, /\u2014 witness\.example\/w /);
  await log.close();
});

test('an older copy of everything, disk, HEAD and key store, starts as if nothing were; a witness shows it', async (context) => {
  const directory = temporaryDirectory(context);
  const copy = temporaryDirectory(context);
  const witness = await witnessOfLog(context);
  const on = machine(systemFiles);

  const first = await startLog(on, { directory });
  await appendMany(first.log, 100);
  await first.log.close();
  cpSync(directory, copy, { recursive: true });
  const { anchor } = on;

  const before = witnessing(directory, witness);
  const second = await startLog(on, { directory, parts: { witness: before.witnesses.witness } });
  await appendMany(second.log, 200);
  assert.ok(second.log.reserve(1));
  assert.ok((await second.log.append(event(), 'witnessed')).ok);
  await second.log.close();
  assert.deepEqual(before.ahead, []);

  rmSync(join(directory, 'audit'), { recursive: true });
  cpSync(copy, directory, { recursive: true });
  const after = witnessing(directory, witness);
  const restored = await startLog(
    { ...on, anchor },
    { directory, parts: { witness: after.witnesses.witness } },
  );
  assert.equal(restored.log.state, 'ready', 'nothing on this machine can tell');
  const [held] = await after.witnesses.held(origin);
  assert.ok(held !== undefined && held.size > 300);
  assert.ok(restored.log.reserve(1));
  const waiting = restored.log.append(event(), 'witnessed');
  while (after.ahead.length === 0) await new Promise((resolve) => setTimeout(resolve, 10));
  assert.equal(after.ahead[0]?.size, held.size);
  assert.ok(after.ahead[0].ownSize < held.size);
  const closing = restored.log.close();
  assert.ok(!(await waiting).ok, 'the answer does not leave');
  await closing;
});

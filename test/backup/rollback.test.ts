import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import test from 'node:test';
import { parseVkey, signatureTypes } from '../../src/audit/format/note.ts';
import { newSkey, parseSkey } from '../../src/audit/witness/keys.ts';
import { parsePolicy } from '../../src/audit/witness/policy.ts';
import { fileStore } from '../../src/audit/witness/state.ts';
import { Witness } from '../../src/audit/witness/witness.ts';
import { witnessServer } from '../../src/audit/witness/witness-server.ts';
import { startInProcess } from '../support/in-process.ts';
import {
  call,
  callForBytes,
  helloWorldB3,
  type InProcessService,
  temporaryDirectory,
} from '../support/service.ts';
import { done, make, placesOf, reasonOf, restore } from './backups.ts';

async function create(service: InProcessService): Promise<string> {
  const body = { purpose: 'test', alg: 'ed25519' };
  return (await call(service, service.token, 'POST', '/v1/kms/keys', body)).body.kid;
}

const sign = (service: InProcessService, kid: string) =>
  call(service, service.token, 'POST', '/v1/kms/sign', { kid, payload_b3: helloWorldB3 });

interface ActRecord {
  readonly type?: string;
  readonly actor: string;
  readonly data: Readonly<Record<string, string | number>>;
}

/** The record of the restore, once the service has put it on the log. */
async function restoreRecord(service: InProcessService): Promise<ActRecord> {
  for (let waited = 0; waited < 600; waited++) {
    const { body } = await call(service, service.token, 'GET', '/v1/kms/audit/records?limit=1000');
    const records: ActRecord[] = body.records.map((each: { record: ActRecord }) => each.record);
    const found = records.find(({ type }) => type === 'store.restored');
    if (found !== undefined) return found;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return assert.fail('the restore is not on the log');
}

test('a backup older than the directory is refused, unless somebody accepts that, which is on the audit log', async () => {
  const first = await startInProcess();
  const { dataDir } = first;
  const kid = await create(first);
  assert.equal(await first.stop(), 0);
  const out = join(temporaryDirectory(), 'kms.age');
  const { head, manifest } = done(await make(dataDir, out));
  // As old as the directory: nothing would be lost.
  const same = done(await restore(out, dataDir, { replace: true }));
  assert.ok(same.kind === 'restored' && same.aside !== undefined);

  const second = await startInProcess({ dataDir });
  assert.equal((await restoreRecord(second)).data.backup, head.id);
  await create(second);
  assert.equal(await second.stop(), 0);
  const refused = await restore(out, dataDir, { replace: true });
  assert.equal(reasonOf(refused), 'older_than_known');
  assert.match(refused.ok ? '' : refused.detail, /audit\.head knows \d+ records of epoch 1/);
  assert.ok(existsSync(join(dataDir, 'store', 'data.mdb')), 'it is as it was');
  assert.ok(!existsSync(join(dataDir, '.restoring')));

  const reason = 'the disk was damaged, ticket 4711';
  const accepted = done(await restore(out, dataDir, { replace: true, acceptRollback: reason }));
  assert.ok(accepted.kind === 'restored' && accepted.aside !== undefined);
  assert.ok(existsSync(join(dataDir, accepted.aside, 'store', 'data.mdb')), 'what was there is kept');
  const third = await startInProcess({ dataDir });
  assert.equal((await sign(third, kid)).status, 200);
  const { actor, data } = await restoreRecord(third);
  assert.equal(actor, `uid:${process.geteuid?.()}`);
  assert.equal(data.reason, reason);
  assert.equal(data.size, manifest.checkpoint?.size);
  assert.match(String(data.goes_back), /audit\.head: \d+ of epoch 1/);
  assert.equal(await third.stop(), 0);
});

test('an audit directory that is apart is restored there, and what it knows counts', async () => {
  const place = temporaryDirectory();
  const [dataDir, auditDir] = [join(place, 'data'), join(place, 'audit')];
  const env = { KMS_AUDIT_DIR: auditDir };
  const first = await startInProcess({ dataDir, env });
  const kid = await create(first);
  assert.equal(await first.stop(), 0);
  const out = join(place, 'kms.age');
  done(await make(dataDir, out, { places: { ...placesOf(dataDir), auditDir } }));
  const second = await startInProcess({ dataDir, env });
  await create(second);
  assert.equal(await second.stop(), 0);

  const other = join(place, 'other');
  const overAudit = { targets: { dataDir: other, auditDir } };
  assert.equal(reasonOf(await restore(out, other, overAudit)), 'target_not_empty');
  assert.equal(reasonOf(await restore(out, other, { ...overAudit, replace: true })), 'older_than_known');
  assert.ok(!existsSync(other));

  const targets = { dataDir: other, auditDir: join(place, 'other-audit') };
  done(await restore(out, other, { targets }));
  assert.ok(!readdirSync(other).includes('audit'));
  const third = await startInProcess({ dataDir: other, env: { KMS_AUDIT_DIR: targets.auditDir } });
  assert.equal((await sign(third, kid)).status, 200);
  assert.equal(await third.stop(), 0);
});

test('a witness that has cosigned more than the backup has makes the restore a step back', async (t) => {
  const place = temporaryDirectory();
  const dataDir = join(place, 'data');
  const first = await startInProcess({ dataDir });
  const kid = await create(first);
  const { vkeys } = (await call(first, first.token, 'GET', '/v1/kms/audit/vkeys')).body;
  assert.equal(await first.stop(), 0);
  const out = join(place, 'kms.age');
  done(await make(dataDir, out));

  const key = parseSkey(newSkey('witness.example/w1', signatureTypes.ed25519Cosignature));
  assert.ok(key.ok);
  const logKeys = vkeys.map((vkey: string) => {
    const parsed = parseVkey(vkey);
    assert.ok(parsed.ok);
    return parsed.value;
  });
  const witnessDir = join(place, 'witness');
  mkdirSync(witnessDir);
  const witness = new Witness({
    signers: [key.value.signer],
    logs: new Map([[logKeys[0].name, logKeys]]),
    store: fileStore(witnessDir, [key.value.key]),
    nowS: () => Math.floor(Date.now() / 1000),
  });
  const server = witnessServer(witness, (cause) => assert.fail(String(cause)));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const file = join(place, 'policy');
  writeFileSync(file, `witness w1 ${key.value.key.vkey} ${url}\nquorum w1\n`);

  const second = await startInProcess({ dataDir, env: { KMS_AUDIT_WITNESS_POLICY: file } });
  assert.equal((await sign(second, kid)).status, 200);
  for (let size = 0; size < 5; ) {
    const { text } = await callForBytes(second, undefined, 'GET', '/metrics');
    size = Number(/^kms_audit_witnessed_size (\d+)$/m.exec(text)?.[1] ?? 0);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  assert.equal(await second.stop(), 0);

  const policy = parsePolicy(readFileSync(file, 'utf8'));
  assert.ok(policy.ok);
  const target = join(place, 'restored');
  const witnesses = policy.policy;
  const refused = await restore(out, target, { witnesses });
  assert.equal(reasonOf(refused), 'older_than_known');
  assert.match(refused.ok ? '' : refused.detail, /witness w1 knows \d+ records of epoch 1/);
  assert.equal(reasonOf(await restore(out, target, { witnesses, acceptRollback: 'a drill' })), 'ok');

  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
  const silent: string[] = [];
  const unknown = { witnesses, warn: (text: string) => void silent.push(text) };
  assert.equal(reasonOf(await restore(out, join(place, 'again'), unknown)), 'ok');
  assert.match(silent.join(), /witness w1 does not say/);
});

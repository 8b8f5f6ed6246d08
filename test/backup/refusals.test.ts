import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  appendFileSync,
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import test, { before } from 'node:test';
import { generateHybridIdentity, identityToRecipient } from 'age-encryption';
import { sealBytes } from '../../src/backup/age.ts';
import { verifyBackup } from '../../src/backup/read.ts';
import { tarEnd, tarHeader, tarPadding } from '../../src/backup/tar.ts';
import type { SealTo } from '../../src/custody/root-key/age.ts';
import { lockDirectory } from '../../src/store/lmdb/directory-lock.ts';
import { startInProcess } from '../support/in-process.ts';
import { temporaryDirectory } from '../support/service.ts';
import { done, make, opens, reasonOf, restore, sealTo } from './backups.ts';

let dataDir = '';
let backup = '';

before(async () => {
  const service = await startInProcess();
  await service.stop();
  dataDir = service.dataDir;
  backup = join(temporaryDirectory(), 'kms.age');
  done(await make(dataDir, backup));
});

/** Refused by both, in the same way, and nothing is left behind by the restore. */
async function refused(file: string, more: Parameters<typeof restore>[2] = {}): Promise<string> {
  const parent = temporaryDirectory();
  const restored = await restore(file, join(parent, 'target'), more);
  assert.deepEqual(readdirSync(parent), []);
  const empty = temporaryDirectory();
  assert.equal(reasonOf(await restore(file, empty, more)), reasonOf(restored));
  assert.deepEqual(readdirSync(empty), []);
  assert.equal(reasonOf(await verifyBackup(file, more.opens ?? opens, () => {})), reasonOf(restored));
  return reasonOf(restored);
}

function altered(change: (file: string) => void): string {
  const copy = join(temporaryDirectory(), 'altered.age');
  copyFileSync(backup, copy);
  change(copy);
  return copy;
}

test('a damaged, cut, lengthened or foreign file is refused, and leaves nothing behind', async () => {
  const size = readFileSync(backup).length;
  const flip = (at: number) => (file: string) => {
    const bytes = readFileSync(file);
    bytes[at]! ^= 1;
    writeFileSync(file, bytes);
  };
  for (const at of [size - 1, size >> 1, 400])
    assert.equal(await refused(altered(flip(at))), 'damaged', `${at}`);
  for (const left of [size - 1, size >> 1, 260])
    assert.equal(await refused(altered((file) => truncateSync(file, left))), 'damaged', `${left}`);
  assert.equal(await refused(altered((file) => appendFileSync(file, 'more'))), 'damaged');
  const text = join(temporaryDirectory(), 'text');
  writeFileSync(text, 'age-encryption.org/v0\nsomething');
  assert.equal(await refused(text), 'not_a_backup');
  writeFileSync(text, `age-encryption.org/v1\n${'-> X25519 a\n'.repeat(50_000)}`);
  assert.equal(await refused(text), 'damaged');
  assert.equal(await refused(join(text, 'none')), 'source_unusable');
});

test('neither another identity nor a wrong passphrase opens it; the right ones do, against quantum computers too', async () => {
  const other = await generateHybridIdentity();
  assert.equal(await refused(backup, { opens: { identities: [other] } }), 'wrong_key');
  assert.equal(await refused(backup, { opens: { passphrase: 'correct horse battery' } }), 'wrong_key');
  assert.equal(await refused(backup, { opens: { identities: ['AGE-SECRET-KEY-1NONE'] } }), 'wrong_key');

  const open = async (to: SealTo, opens: Parameters<typeof verifyBackup>[1]) => {
    const out = join(temporaryDirectory(), 'kms.age');
    done(await make(dataDir, out, { sealTo: to }));
    return reasonOf(await verifyBackup(out, opens, () => {}));
  };
  const recipients = [await identityToRecipient(other)];
  assert.match(recipients[0] as string, /^age1pq1/);
  assert.equal(await open({ recipients }, { identities: [other] }), 'ok');
  const secret = { passphrase: 'correct horse battery', scryptLogN: 10 };
  assert.equal(await open(secret, { passphrase: 'correct horse battery' }), 'ok');
  assert.equal(await open(secret, { passphrase: 'correct horse batterz' }), 'wrong_key');
  const out = join(temporaryDirectory(), 'kms.age');
  assert.equal(reasonOf(await make(dataDir, out, { sealTo: { recipients: ['age1none'] } })), 'wrong_key');
  assert.ok(!existsSync(out));
});

interface Crafted {
  readonly name: string;
  readonly content?: Buffer;
  readonly header?: (header: Buffer) => void;
}

const head = {
  ...{ format: 1, id: '5f0c1d2e-0000-4000-8000-000000000000', version: 'test', createdAtMs: 1, live: false },
  ...{ databases: ['records'], rootKey: [] },
};
const headEntry: Crafted = { name: 'backup.json', content: Buffer.from(JSON.stringify(head)) };
const file = (name: string, content = Buffer.from('x')): Crafted => ({ name, content });

/** A sealed archive with these entries, by somebody who has the key. */
async function crafted(...entries: readonly Crafted[]): Promise<string> {
  const archive = entries.flatMap(({ name, content = Buffer.from('x'), header }) => {
    const made = tarHeader('x', content.length);
    made.fill(0, 0, 100);
    made.write(name, 0, 'latin1');
    header?.(made);
    made.write('        ', 148, 'latin1');
    const sum = made.reduce((total, byte) => total + byte, 0);
    made.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
    return [made, content, tarPadding(content.length)];
  });
  const out = join(temporaryDirectory(), 'crafted.age');
  const pieces: Uint8Array[] = [];
  const bytes = (async function* () {
    yield Buffer.concat([...archive, tarEnd]);
  })();
  for await (const piece of await sealBytes(sealTo, bytes)) pieces.push(piece);
  writeFileSync(out, Buffer.concat(pieces));
  return out;
}

test('entries that would land elsewhere, are no files, or are larger than any backup has are refused', async () => {
  const outside = ['../outside', '/etc/passwd', 'data/../../outside', 'data/.hidden', 'data//x', 'data/a b'];
  const elsewhere = ['other/x', 'store/1', 'store/00000001', 'data/store/data.mdb', 'data/audit/x'];
  for (const name of [...outside, ...elsewhere])
    assert.equal(await refused(await crafted(headEntry, file(name))), 'unsafe_entry', name);
  const link = (header: Buffer) => void header.write('2/etc/passwd', 156, 'latin1');
  assert.equal(await refused(await crafted(headEntry, { name: 'data/x', header: link })), 'unsafe_entry');
  const prefix = (header: Buffer) => void header.write('..', 345, 'latin1');
  assert.equal(await refused(await crafted(headEntry, { name: 'data/x', header: prefix })), 'unsafe_entry');
  assert.equal(await refused(await crafted(headEntry, file('data/a'), file('data/a'))), 'damaged');
  const large = (header: Buffer) => void header.write('77777777777', 124, 'latin1');
  assert.equal(await refused(await crafted(headEntry, { name: 'data/x', header: large })), 'too_large');
  assert.equal(await refused(await crafted(file('data/x'))), 'not_a_backup');
  const later = { ...headEntry, content: Buffer.from(JSON.stringify({ ...head, format: 2 })) };
  assert.equal(await refused(await crafted(later)), 'unknown_version');
  assert.equal(await refused(await crafted(headEntry)), 'damaged', 'without a manifest');
  const manifest = (entries: readonly object[]) =>
    file('manifest.json', Buffer.from(JSON.stringify({ entries, records: 0, anchorSize: 0 })));
  assert.equal(await refused(await crafted(headEntry, manifest([]))), 'damaged', 'of other parts');
  assert.equal(await refused(await crafted(headEntry, file('store/00000000'))), 'damaged');
});

test('one name below another is refused by the restore', async () => {
  const archive = await crafted(headEntry, file('data/a'), file('data/a/b'));
  const parent = temporaryDirectory();
  assert.equal(reasonOf(await restore(archive, join(parent, 'target'))), 'unsafe_entry');
  assert.deepEqual(readdirSync(parent), []);
});

test('nothing is written over: no backup without --force, no directory that is not empty, none that others may write', async () => {
  assert.equal(reasonOf(await make(dataDir, backup)), 'file_exists');
  assert.equal(reasonOf(await make(dataDir, backup, { force: true })), 'ok');
  assert.equal(reasonOf(await make(dataDir, join(dataDir, 'inside.age'))), 'target_unsafe');
  assert.equal(reasonOf(await make(dataDir, join(dataDir, 'audit', 'inside.age'))), 'target_unsafe');
  assert.equal(
    reasonOf(await make(temporaryDirectory(), join(temporaryDirectory(), 'x'))),
    'source_unusable',
  );
  assert.deepEqual(
    readdirSync(join(backup, '..')).filter((name) => name.endsWith('.partial')),
    [],
  );

  const full = temporaryDirectory();
  writeFileSync(join(full, 'mine'), 'x');
  assert.equal(reasonOf(await restore(backup, full)), 'target_not_empty');
  assert.deepEqual(readdirSync(full), ['mine']);
  const open = temporaryDirectory();
  chmodSync(open, 0o777);
  assert.equal(reasonOf(await restore(backup, open)), 'target_unsafe');
  assert.equal(reasonOf(await restore(backup, join(full, 'none', 'deep'))), 'target_unsafe');
  const mounted = temporaryDirectory();
  mkdirSync(join(mounted, 'lost+found'));
  chmodSync(mounted, 0o755);
  assert.equal(reasonOf(await restore(backup, mounted)), 'ok', 'a file system of its own');
  assert.equal(statSync(mounted).mode & 0o777, 0o700);
});

test('a directory whose service runs is not restored over', async () => {
  const service = await startInProcess();
  assert.equal(reasonOf(await restore(backup, service.dataDir, { replace: true })), 'in_use');
  assert.equal(await service.stop(), 0);
});

test('the log of a running service is not restored over, whatever the data directory', async () => {
  const place = temporaryDirectory();
  const env = { KMS_AUDIT_DIR: join(place, 'log') };
  const service = await startInProcess({ dataDir: join(place, 'data'), env });
  const other = join(place, 'other');
  const targets = { dataDir: other, auditDir: env.KMS_AUDIT_DIR };
  const over = { targets, replace: true, acceptRollback: 'a test' };
  const refused = await restore(backup, other, over);
  assert.equal(reasonOf(refused), 'in_use');
  assert.match(refused.ok ? '' : refused.detail, /log is in use: process \d+ holds it/);
  assert.ok(!existsSync(other));
  assert.equal(await service.stop(), 0);
  assert.equal(reasonOf(await restore(backup, other, over)), 'ok', 'it lets go of it');
});

test('a pipe, a folder or a device is no backup, and is not waited for', async () => {
  const pipe = join(temporaryDirectory(), 'pipe');
  execFileSync('mkfifo', [pipe]);
  for (const path of [pipe, temporaryDirectory(), '/dev/zero'])
    assert.equal(await refused(path), 'source_unusable', path);
});

test('what a killed backup left goes with the next of its name; one that is being written, and other files, stay', async (t) => {
  const place = temporaryDirectory();
  const out = join(place, 'kms.age');
  const stays = ['other.age.0123456789ab.partial', 'kms.age.0123456789ab', 'kms.age.fresh0000000.partial'];
  const [left, written, young] = ['0123456789ab', '1123456789ab', '2123456789ab'].map(
    (digits) => `kms.age.${digits}.partial`,
  ) as [string, string, string];
  for (const name of [...stays, left, written, young]) writeFileSync(join(place, name), 'x');
  const hourAgoS = Date.now() / 1_000 - 3_600;
  for (const name of [...stays, left, written]) utimesSync(join(place, name), hourAgoS, hourAgoS);
  const unlock = await lockDirectory(join(place, written));
  t.after(() => unlock?.());
  assert.deepEqual(done(await make(dataDir, out)).removed, [left]);
  assert.deepEqual(readdirSync(place).sort(), [...stays, written, young, 'kms.age'].sort());
});

test('a backup that somebody ends leaves nothing, and the one before stays', async () => {
  const place = temporaryDirectory();
  const out = join(place, 'kms.age');
  writeFileSync(out, 'of before');
  const ended = await make(dataDir, out, { force: true, signal: AbortSignal.abort() });
  assert.equal(reasonOf(ended), 'interrupted');
  assert.deepEqual(readdirSync(place), ['kms.age']);
  assert.equal(readFileSync(out, 'utf8'), 'of before');
});

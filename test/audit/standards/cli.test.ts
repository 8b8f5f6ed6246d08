import assert from 'node:assert/strict';
import { cpSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { intaglio } from '../../cli/intaglio.ts';
import { logSigners } from '../../support/audit-notes.ts';
import { auditRecords } from '../../support/audit-records.ts';
import { MemoryTree } from '../../support/audit-trees.ts';
import { temporaryDirectory } from '../../support/temporary-directory.ts';
import { testOrigin } from './vectors.ts';

const signers = logSigners();

async function writeLog(directory: string, tree: MemoryTree): Promise<void> {
  for (const [path, bytes] of tree.files()) {
    mkdirSync(dirname(join(directory, path)), { recursive: true });
    writeFileSync(join(directory, path), bytes);
  }
  writeFileSync(join(directory, 'checkpoint'), await tree.checkpoint(testOrigin, signers));
}

async function logOf(context: TestContext, size: number) {
  const directory = temporaryDirectory(context);
  const [log, keys] = [join(directory, 'log'), join(directory, 'keys')];
  const tree = new MemoryTree(auditRecords(size));
  await writeLog(log, tree);
  writeFileSync(keys, `# the log\n${signers.map(({ vkey }) => `${vkey}\n`).join('')}`);
  return { directory, log, keys, tree };
}

test('audit verify: a whole log, and everything that can be wrong with one', async (context) => {
  const { directory, log, keys, tree } = await logOf(context, 600);
  const good = await intaglio(['audit', 'verify', log, '--keys', keys, '--json']);
  assert.equal(good.status, 0, good.stderr);
  const facts = JSON.parse(good.stdout);
  assert.deepEqual(
    [facts.verified, facts.size, facts.records, facts.keys, facts.signatures.length, facts.findings],
    [true, 600, 600, 7, 2, []],
  );

  const damaged = join(directory, 'damaged');
  const damage = async (path: string, change: (bytes: Buffer) => Uint8Array | undefined) => {
    rmSync(damaged, { recursive: true, force: true });
    cpSync(log, damaged, { recursive: true });
    const changed = change(readFileSync(join(damaged, path)));
    if (changed === undefined) rmSync(join(damaged, path));
    else writeFileSync(join(damaged, path), changed);
    return intaglio(['audit', 'verify', damaged, '--keys', keys]);
  };
  const flip = (at: number) => (bytes: Buffer) => {
    bytes[at]! ^= 1;
    return bytes;
  };
  const cases: [string, (bytes: Buffer) => Uint8Array | undefined, RegExp][] = [
    ['tile/entries/001', flip(1000), /at 256: the entries of tile\/entries\/001 do not hash/],
    ['tile/entries/002.p/88', flip(0), /tile\/entries\/002.p\/88 is missing, cut or too long/],
    ['tile/entries/001', () => undefined, /tile\/entries\/001 is missing/],
    ['tile/0/001', flip(40), /do not hash to tile\/0\/001/],
    ['tile/1/000.p/2', flip(33), /at 256: hash 1 of tile\/1\/000.p\/2/],
    ['tile/1/000.p/2', (bytes) => bytes.subarray(1), /tile\/1\/000.p\/2 is missing or has a wrong length/],
    [
      'checkpoint',
      (bytes) => Buffer.from(bytes.toString().replace('\n600\n', '\n512\n')),
      /known key is not valid/,
    ],
    ['checkpoint', (bytes) => bytes.subarray(0, bytes.lastIndexOf('\u2014')), /of a type that is required/],
  ];
  for (const [path, change, expected] of cases) {
    const outcome = await damage(path, change);
    assert.equal(outcome.status, 2, path);
    assert.match(outcome.stdout + outcome.stderr, expected);
  }

  const removed = new MemoryTree(tree.entries.filter((_, index) => index !== 300));
  const rewritten = join(directory, 'rewritten');
  await writeLog(rewritten, removed);
  const hole = await intaglio(['audit', 'verify', rewritten, '--keys', keys]);
  assert.equal(hole.status, 2);
  assert.match(hole.stdout, /a record of a key has seq \d+ where \d+ comes next/);
});

test('audit verify: the log must continue an older checkpoint', async (context) => {
  const { directory, log, keys } = await logOf(context, 600);
  const older = join(directory, 'older');
  const at = async (tree: MemoryTree) => {
    writeFileSync(older, await tree.checkpoint(testOrigin, signers));
    return intaglio(['audit', 'verify', log, '--keys', keys, '--older', older]);
  };
  assert.equal((await at(new MemoryTree(auditRecords(300)))).status, 0);
  const forked = await at(new MemoryTree([...auditRecords(299), Buffer.from('other')]));
  assert.deepEqual([forked.status, /does not continue/.test(forked.stdout)], [2, true]);
  const longer = await at(new MemoryTree(auditRecords(601)));
  assert.deepEqual([longer.status, /is shorter than the older/.test(longer.stdout)], [2, true]);
});

test('audit export gives the same files, later ones brought up to date; a log without its oldest entries too', async (context) => {
  const { directory, log, keys } = await logOf(context, 600);
  const copy = join(directory, 'copy');
  assert.equal((await intaglio(['audit', 'export', log, copy])).status, 0);
  await writeLog(log, new MemoryTree(auditRecords(1_000)));
  assert.equal((await intaglio(['audit', 'export', log, copy])).status, 0);
  for (const path of [...new MemoryTree(auditRecords(1_000)).files().keys(), 'checkpoint']) {
    assert.deepEqual(readFileSync(join(copy, path)), readFileSync(join(log, path)), path);
    assert.equal(statSync(join(copy, path)).mode & 0o777, 0o600, path);
  }
  assert.equal(statSync(copy).mode & 0o777, 0o700);
  assert.equal((await intaglio(['audit', 'verify', copy, '--keys', keys])).status, 0);

  rmSync(join(log, 'tile/entries/000'));
  assert.equal((await intaglio(['audit', 'export', log, join(directory, 'failed')])).status, 2);
  rmSync(join(log, 'tile/0/000'));
  writeFileSync(join(log, 'minimum-index'), '256\n');
  const pruned = join(directory, 'pruned');
  const refused = await intaglio(['audit', 'export', log, pruned]);
  assert.equal(refused.status, 2);
  assert.match(refused.stderr, /lacks the entries from 0 to 255, and no record says/);
  const archived = ['--allow-archived', '256'];
  assert.equal((await intaglio(['audit', 'export', log, pruned, ...archived])).status, 0);
  const lost = await intaglio(['audit', 'verify', pruned, '--keys', keys]);
  assert.equal(lost.status, 2);
  assert.match(lost.stdout, /NOT RIGHT +at 0: the entries from 0 to 255 are missing, and no record says/);
  const fewer = await intaglio(['audit', 'verify', pruned, '--keys', keys, '--allow-archived', '100']);
  assert.match(fewer.stdout, /the entries from 100 to 255 are missing/);
  const verified = await intaglio(['audit', 'verify', pruned, '--keys', keys, '--json', ...archived]);
  assert.equal(verified.status, 0, verified.stdout);
  assert.deepEqual([JSON.parse(verified.stdout).size, JSON.parse(verified.stdout).records], [1_000, 744]);
});

test('audit prove, by index and by op_id; audit verify of the proof', async (context) => {
  const { directory, log, keys, tree } = await logOf(context, 600);
  const [proof, entry] = [join(directory, 'proof'), join(directory, 'entry')];
  const record = JSON.parse(Buffer.from(tree.entries[321]!).toString());
  for (const chosen of [
    ['--index', '321'],
    ['--op-id', record.op_id],
  ]) {
    const made = await intaglio(['audit', 'prove', log, ...chosen, '--out', proof, '--entry', entry]);
    assert.equal(made.status, 0, made.stderr);
    assert.deepEqual(readFileSync(entry), Buffer.from(tree.entries[321]!));
    const verify = ['audit', 'verify', '--keys', keys, '--proof', proof, '--entry', entry];
    assert.match((await intaglio(verify)).stdout, /the record is number 321 of kms.example\/audit\/1/);
    writeFileSync(entry, Buffer.from(tree.entries[320]!));
    assert.equal((await intaglio(verify)).status, 2);
  }
  assert.equal((await intaglio(['audit', 'prove', log, '--index', '600'])).status, 1);
  assert.equal((await intaglio(['audit', 'prove', log, '--op-id', 'nobody'])).status, 1);
  assert.equal((await intaglio(['audit', 'prove', log])).status, 1);
});

test('audit tail prints the newest records, of one key or tenant', async (context) => {
  const { log, tree } = await logOf(context, 600);
  const lines = async (...args: string[]) => {
    const { stdout, status } = await intaglio(['audit', 'tail', log, ...args]);
    assert.equal(status, 0);
    return stdout.trimEnd().split('\n');
  };
  const texts = tree.entries.map((entry) => Buffer.from(entry).toString());
  assert.deepEqual(await lines(), texts.slice(-10));
  assert.deepEqual(await lines('-n', '500'), texts.slice(-500));
  const ofTenant = texts.filter((text) => JSON.parse(text).tenant === 'globex');
  assert.deepEqual(await lines('-n', '200', '--tenant', 'globex'), ofTenant.slice(-200));
  const key = JSON.parse(texts[0]!).key_id;
  assert.deepEqual(
    await lines('-n', '3', '--key', key),
    texts.filter((text) => JSON.parse(text).key_id === key).slice(-3),
  );
});

test('what is missing or mistyped is said, with status 1', async (context) => {
  const { log, keys, directory } = await logOf(context, 5);
  for (const args of [
    ['verify', join(directory, 'nowhere'), '--keys', keys],
    ['verify', log, '--keys', join(directory, 'nowhere')],
    ['verify', log, '--keys', join(log, 'checkpoint')],
    ['verify', log],
    ['verify', '--keys', keys, '--proof', keys],
    ['verify', log, '--keys', keys, '--older', join(directory, 'nowhere')],
    ['tail', log, '--lines', 'many'],
    ['export', directory, join(directory, 'out')],
  ]) {
    const outcome = await intaglio(['audit', ...args]);
    assert.equal(outcome.status, 1, args.join(' '));
    assert.ok(!outcome.stderr.includes('    at '), outcome.stderr);
  }
});

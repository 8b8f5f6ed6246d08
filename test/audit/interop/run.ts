/**
 * Has a log read by programs of others: Go's x/mod, tessera's fsck, transparency-dev's formats and merkle, and
 * @sigstore/verify. `npm run audit:interop [-- --records 200000]`. Needs go and npm, which fetch what they lack.
 */
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { parseArgs } from 'node:util';
import { signCheckpoint } from '../../../src/audit/checkpoint.ts';
import { leafHash } from '../../../src/audit/merkle.ts';
import { type NoteKey, parseVkey, signatureTypes } from '../../../src/audit/note.ts';
import { exportLog } from '../../../src/audit/static-log.ts';
import { consistencyFromTiles, rootFromTiles } from '../../../src/audit/tiles.ts';
import { Cosigner } from '../../../src/audit/witness/cosigner.ts';
import { newSkey, parseSkey } from '../../../src/audit/witness/keys.ts';
import { thresholdPolicy } from '../../../src/audit/witness/policy.ts';
import { originHash } from '../../../src/audit/witness/protocol.ts';
import { witnessServer } from '../../../src/audit/witness/server.ts';
import { fileStore } from '../../../src/audit/witness/state.ts';
import { Witness } from '../../../src/audit/witness/witness.ts';
import { logSigners } from '../../support/audit-notes.ts';
import { auditRecords } from '../../support/audit-records.ts';
import { MemoryTree, reader } from '../../support/audit-trees.ts';
import { checkWithSigstore } from './sigstore.ts';

const { values } = parseArgs({ options: { records: { type: 'string', default: '200000' } } });
const count = Number(values.records);
if (!Number.isSafeInteger(count) || count < 2) throw new Error('--records takes a number of at least 2');

const origin = 'kms.example/audit/interop';
const here = import.meta.dirname;
const program = join(here, '..', '..', '..', 'src', 'cli', 'main.ts');
const directory = mkdtempSync(join(tmpdir(), 'intaglio-interop-'));
const at = (name: string) => join(directory, name);

function say(what: string, result: string): void {
  process.stdout.write(`${what.padEnd(28)} ${result}\n`);
}

function run(what: string, command: string, args: readonly string[], cwd = directory): string {
  const { status, stdout, error } = spawnSync(command, args, {
    cwd,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, PATH: `${process.env.PATH}${delimiter}/usr/local/go/bin` },
  });
  if (error !== undefined || status !== 0) throw new Error(`${what} ended with status ${status}`);
  return stdout;
}

function has(command: string, argument: string): boolean {
  const path = `${process.env.PATH}${delimiter}/usr/local/go/bin`;
  return spawnSync(command, [argument], { env: { ...process.env, PATH: path } }).status === 0;
}

const audit = (...args: string[]) =>
  run(`audit ${args[0]}`, process.execPath, [program, 'audit', ...args]).trimEnd();

function keyOf(vkey: string): NoteKey {
  const key = parseVkey(vkey);
  if (!key.ok) throw new Error(key.failure.hint);
  return key.value;
}

/** A log of `count` records at `log`, cosigned by a witness of ours; its older checkpoint at a third of that. */
async function makeLog(): Promise<void> {
  const tree = new MemoryTree(auditRecords(count));
  const tiles = reader(tree.files());
  const signers = logSigners(origin);
  const witnessKeys = [signatureTypes.ed25519Cosignature, signatureTypes.mlDsa44].map((type) => {
    const key = parseSkey(newSkey('witness.example/w1', type));
    if (!key.ok) throw new Error('a key that was just made');
    return key.value;
  });
  const core = new Witness({
    signers: witnessKeys.map(({ signer }) => signer),
    logs: new Map([[origin, signers.map(({ vkey }) => keyOf(vkey))]]),
    store: fileStore(
      directory,
      witnessKeys.map(({ key }) => key),
    ),
    nowS: () => Math.floor(Date.now() / 1000),
  });
  const server = witnessServer(core, (error) => {
    throw error;
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const policy = thresholdPolicy(
    witnessKeys.map(({ key }, index) => ({ name: `w${index}`, key, url })),
    1,
  );
  if (!policy.ok) throw new Error('one of two witnesses');
  const cosigner = new Cosigner({
    policy: policy.value,
    fail: 'closed',
    timeoutMs: 10_000,
    prove: (from, to) => consistencyFromTiles(tiles, from, to, count),
  });
  for (const size of [Math.ceil(count / 3), count]) {
    const root = rootFromTiles(tiles, size, count);
    if (!root.ok) throw new Error(root.failure.hint);
    const checkpoint = { origin, size, root: root.value };
    const note = await signCheckpoint(checkpoint, signers, Math.floor(Date.now() / 1000));
    const { note: cosigned, quorum } = await cosigner.cosign(note, checkpoint);
    if (!quorum) throw new Error('the witness did not cosign');
    if (size !== count) writeFileSync(at('older'), cosigned);
    else [...exportLog(tiles, checkpoint, cosigned, 0, at('log'))];
  }
  server.closeAllConnections();
  server.close();
  writeFileSync(at('keys'), signers.map(({ vkey }) => `${vkey}\n`).join(''));
  // What the witness holds carries both of its cosignatures.
  const held = readFileSync(join(directory, originHash(origin), 'checkpoint'));
  writeFileSync(join(at('log'), 'checkpoint'), held);
  const vkeys = [...signers.map(({ vkey }) => vkey), ...witnessKeys.map(({ key }) => key.vkey)];
  writeFileSync(at('all-keys'), vkeys.map((vkey) => `${vkey}\n`).join(''));
}

function checkWithGo(): void {
  if (!has('go', 'version')) {
    say('Go', 'SKIPPED: there is no go on this machine (1.26 or later, https://go.dev/dl)');
    return;
  }
  run('go build', 'go', ['build', '-o', at('interop'), '.'], join(here, 'go'));
  const args = [at('export'), at('all-keys'), at('older'), at('proof'), at('entry')];
  process.stdout.write(run('the Go program', at('interop'), args));
}

function installSigstore(): string | undefined {
  if (!has('npm', '--version')) return undefined;
  const home = at('sigstore');
  cpSync(join(here, 'sigstore'), home, { recursive: true });
  run('npm ci', 'npm', ['ci', '--silent', '--ignore-scripts', '--no-audit', '--no-fund'], home);
  return existsSync(join(home, 'node_modules')) ? home : undefined;
}

try {
  const startedMs = Date.now();
  await makeLog();
  say('made', `${count} records in ${((Date.now() - startedMs) / 1000).toFixed(1)} s`);
  say('audit export', audit('export', at('log'), at('export')));
  const verified = JSON.parse(
    audit('verify', at('export'), '--keys', at('keys'), '--older', at('older'), '--json'),
  );
  say('audit verify', `${verified.records} records of ${verified.keys} keys in ${verified.seconds} s`);
  const index = Math.floor(count / 7);
  audit('prove', at('export'), '--index', String(index), '--out', at('proof'), '--entry', at('entry'));
  say('leaf', `${index}: ${leafHash(readFileSync(at('entry'))).toString('hex')}`);
  checkWithGo();
  const sigstore = installSigstore();
  if (sigstore === undefined) say('@sigstore/verify', 'SKIPPED: there is no npm on this machine');
  else {
    const key = keyOf(logSigners(origin)[0].vkey);
    const { version, refused } = checkWithSigstore(
      sigstore,
      key,
      readFileSync(at('proof')),
      readFileSync(at('entry')),
    );
    say(
      '@sigstore/verify',
      `${version}: checkpoint and proof of record ${index}; refuses ${refused} altered ones`,
    );
  }
} finally {
  rmSync(directory, { recursive: true, force: true });
}

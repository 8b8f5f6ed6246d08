/**
 * Has a log read by programs of others: Go's x/mod, tessera's fsck, transparency-dev's formats and merkle, and
 * @sigstore/verify. `npm run audit:interop [-- --records 200000]`. Needs go and npm, which fetch what they lack.
 */
import { spawnSync } from 'node:child_process';
import { hash, randomBytes, randomUUID } from 'node:crypto';
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import type { AuditEvent, AuditLog } from '../../../src/audit/audit-log.ts';
import { parseCheckpoint } from '../../../src/audit/format/checkpoint.ts';
import { leafHash } from '../../../src/audit/format/merkle.ts';
import { type NoteKey, parseVkey, signatureTypes } from '../../../src/audit/format/note.ts';
import { openLogReader } from '../../../src/audit/reading/log-reader.ts';
import { startAuditLog } from '../../../src/audit/service/start-log-thread.ts';
import { originHash } from '../../../src/audit/witness/add-checkpoint.ts';
import { newSkey, parseSkey } from '../../../src/audit/witness/keys.ts';
import { thresholdPolicy } from '../../../src/audit/witness/policy.ts';
import { fileStore } from '../../../src/audit/witness/state.ts';
import { Witness } from '../../../src/audit/witness/witness.ts';
import { witnessServer } from '../../../src/audit/witness/witness-server.ts';
import { logSigners } from '../../support/audit-notes.ts';
import { witnessesOf } from '../../support/audit-witnesses.ts';
import { checkWithSigstore } from './sigstore.ts';

const { values } = parseArgs({ options: { records: { type: 'string', default: '200000' } } });
const count = Number(values.records);
if (!Number.isSafeInteger(count) || count < 20_000)
  throw new Error('--records takes a number from 20,000 on');

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

function eventOf(index: number): AuditEvent {
  const key = (index * 5) % 7;
  const tenant = ['acme', 'globex', 'initech'][key % 3]!;
  return {
    actor: `spiffe://${tenant}/web-${index % 40}`,
    alg: key % 2 === 0 ? 'ed25519' : 'ml-dsa-65',
    inputDigest: hash('sha256', `payload ${index}`, 'hex'),
    keyId: `${tenant}/tls/ed25519/0192f7c1-5b1e-7c3a-9d2e-00000000000${key}`,
    keyVersion: 1,
    opId: randomUUID(),
    purpose: 'sign',
    result: index % 50 === 49 ? 'denied:PolicyViolation' : 'ok',
    tenant,
  };
}

/** A log of `count` records, written by the log's own thread; a checkpoint that it had at a third of that. */
async function writeLog(): Promise<Uint8Array> {
  const log = startAuditLog(
    {
      directory: at('audit'),
      headPath: at('audit.head'),
      secret: randomBytes(32),
      origin,
      inputHash: { mode: 'hmac', modeOfTenant: {}, kid: '1' },
    },
    {
      checkpointKeys: (name) => Promise.resolve({ signers: logSigners(name) }),
      anchors: undefined,
      report: (event, detail) => process.stderr.write(`${event}: ${detail}\n`),
    },
    (cause) => {
      throw cause;
    },
  );
  await log.recovered();
  let older: string | undefined;
  for (let done = 0; done < count; ) {
    const together = Math.min(1_000, count - done);
    if (!log.reserve(together)) throw new Error(`no room in the log: ${log.state} ${log.reason}`);
    const events = Array.from({ length: together }, (_, index) => eventOf(done + index));
    const outcomes = await Promise.all(events.map((event) => log.append(event, 'written')));
    if (!outcomes.every(({ ok }) => ok)) throw new Error('the log refused a record');
    done += together;
    if (older === undefined && done >= count / 3) older = await checkpointOf(log, done);
  }
  await log.close();
  return Buffer.from(older!);
}

/** The first checkpoint that covers `size` records; one is due a second after them at the latest. */
async function checkpointOf(log: AuditLog, size: number): Promise<string> {
  for (let waitedMs = 0; waitedMs < 10_000; waitedMs += 20) {
    const checkpoint = log.checkpoint();
    if (checkpoint !== undefined && checkpoint.size >= size) return checkpoint.note;
    await delay(20);
  }
  throw new Error('the log makes no checkpoints');
}

/** Has a witness of ours cosign both checkpoints, over HTTP; gives its verifier keys. */
async function cosignBoth(older: Uint8Array): Promise<readonly string[]> {
  const witnessKeys = [signatureTypes.ed25519Cosignature, signatureTypes.mlDsa44].map((type) => {
    const key = parseSkey(newSkey('witness.example/w1', type));
    if (!key.ok) throw new Error('a key that was just made');
    return key.value;
  });
  const core = new Witness({
    signers: witnessKeys.map(({ signer }) => signer),
    logs: new Map([[origin, logSigners(origin).map(({ vkey }) => keyOf(vkey))]]),
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
  const policy = thresholdPolicy([{ name: 'w1', key: witnessKeys[0]!.key, url }], 1);
  if (!policy.ok) throw new Error('one of one witness');
  const log = openLogReader(at('audit'));
  const { witness } = witnessesOf({
    policy: policy.value,
    fail: 'closed',
    timeoutMs: 10_000,
    tiles: () => log,
    onAhead: () => {
      throw new Error('the witness is ahead');
    },
  });
  for (const note of [older, log.checkpoint()!.note]) {
    const text = Buffer.from(note).toString();
    const parsed = parseCheckpoint(text);
    if (!parsed.ok) throw new Error(parsed.failure.hint);
    const cosigned = await witness({ ...parsed.value, note: text });
    if (!cosigned.ok) throw new Error(cosigned.failure.hint);
  }
  server.closeAllConnections();
  server.close();
  return witnessKeys.map(({ key }) => key.vkey);
}

/** The log, its checkpoint with the cosignatures of both of the witness's keys, and the keys. */
async function makeLog(): Promise<void> {
  const older = await writeLog();
  writeFileSync(at('older'), older);
  const ofLog = logSigners(origin).map(({ vkey }) => vkey);
  const ofWitness = await cosignBoth(older);
  writeFileSync(at('keys'), lines(ofLog));
  writeFileSync(at('all-keys'), lines([...ofLog, ...ofWitness]));
}

function lines(texts: readonly string[]): string {
  return texts.map((text) => `${text}\n`).join('');
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
  audit('scrub', at('audit'));
  say('audit export', audit('export', at('audit'), at('export')));
  cpSync(join(directory, originHash(origin), 'checkpoint'), join(at('export'), 'checkpoint'));
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

/**
 * `npm run age:go`: filippo.io/age of Go opens what we seal, and we open what it seals. Needs Go 1.25 or newer and its module
 * proxy. `npm test` has Debian's older `age`, which knows passphrases and X25519 alone.
 */
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { buffer } from 'node:stream/consumers';
import { generateHybridIdentity, generateX25519Identity, identityToRecipient } from 'age-encryption';
import { openSealed, sealBytes } from '../../../src/backup/age.ts';
import {
  decryptByIdentities,
  decryptByPassphrase,
  encryptForPassphrase,
  encryptForRecipients,
  type SealTo,
} from '../../../src/custody/root-key/age.ts';
import { joinShares, openShare, splitForOfficers } from '../../../src/custody/root-key/shares.ts';

interface Question {
  readonly do: 'generate' | 'seal' | 'open';
  readonly kind?: string;
  readonly recipients?: readonly string[];
  readonly identities?: readonly string[];
  readonly passphrase?: string;
  readonly log_n?: number;
  readonly armoured?: boolean;
  readonly bytes?: string;
}

interface Answer {
  readonly identity?: string;
  readonly recipient?: string;
  readonly bytes: string | null;
  readonly error?: string;
}

const say = (line: string) => process.stdout.write(`${line}\n`);
const directory = mkdtempSync(join(tmpdir(), 'intaglio-age-'));
process.once('exit', () => rmSync(directory, { recursive: true, force: true }));

say('building filippo.io/age …');
const program = join(directory, 'age-go');
execFileSync('go', ['build', '-o', program, '.'], {
  cwd: import.meta.dirname,
  stdio: ['ignore', 'inherit', 'inherit'],
});
const go = spawn(program, [], { stdio: ['pipe', 'pipe', 'inherit'] });
process.once('exit', () => go.kill('SIGKILL'));
const lines = createInterface(go.stdout)[Symbol.asyncIterator]();

async function ask(question: Question): Promise<Answer> {
  go.stdin.write(`${JSON.stringify(question)}\n`);
  const { value, done } = await lines.next();
  assert.ok(done !== true, 'the program of Go has ended');
  return JSON.parse(value) as Answer;
}

interface Pair {
  readonly identity: string;
  readonly recipient: string;
}

type Opens = { readonly identities: readonly string[] } | { readonly passphrase: string };

const base64 = (bytes: Uint8Array | string) => Buffer.from(bytes).toString('base64');

async function openedByGo(age: Uint8Array | string, opens: Opens): Promise<Buffer> {
  const { bytes, error } = await ask({ do: 'open', ...opens, bytes: base64(age) });
  assert.equal(error, undefined);
  return Buffer.from(bytes ?? '', 'base64');
}

async function sealedByGo(
  to: Pick<Question, 'recipients' | 'passphrase' | 'log_n'>,
  content: Uint8Array,
  armoured: boolean,
): Promise<Buffer> {
  const { bytes, error } = await ask({ do: 'seal', ...to, armoured, bytes: base64(content) });
  assert.equal(error, undefined);
  return Buffer.from(bytes ?? '', 'base64');
}

async function* piecesOf(content: Uint8Array): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < content.length; at += 50_000) yield content.subarray(at, at + 50_000);
}

/** As `backup create` writes it. */
async function sealedAsBackup(to: SealTo, content: Uint8Array): Promise<Buffer> {
  return buffer(await sealBytes(to, piecesOf(content)));
}

/** As `backup restore` reads it. */
async function openedAsBackup(age: Uint8Array, opens: Opens): Promise<Buffer> {
  const file = join(directory, 'backup.age');
  writeFileSync(file, age);
  return buffer(await openSealed(file, opens));
}

async function byGo(kind: string): Promise<Pair> {
  const { identity = '', recipient = '', error } = await ask({ do: 'generate', kind });
  assert.equal(error, undefined);
  return { identity, recipient };
}

async function byUs(generate: () => Promise<string>): Promise<Pair> {
  const identity = await generate();
  return { identity, recipient: await identityToRecipient(identity) };
}

const secret = randomBytes(32);
// age seals pieces of 64 KiB: nothing, less than a piece, one to the byte, several.
const contents = [0, 1, 65_536, 200_001].map((bytes) => randomBytes(bytes));

async function bothWays(
  name: string,
  [pair, other]: readonly [Pair, Pair],
  prefixes: readonly [string, string],
) {
  const { identity, recipient } = pair;
  assert.ok(identity.startsWith(prefixes[0]) && recipient.startsWith(prefixes[1]), name);
  assert.equal(await identityToRecipient(identity), recipient, 'both have one recipient of an identity');
  const [opens, recipients] = [{ identities: [identity] }, [recipient]];
  const root = await encryptForRecipients(secret, recipients);
  assert.deepEqual(await openedByGo(root, opens), secret);
  const refused = await ask({ do: 'open', identities: [other.identity], bytes: base64(root) });
  assert.ok(refused.error !== undefined, 'another identity opens it');
  for (const armoured of [false, true]) {
    const sealed = await sealedByGo({ recipients }, secret, armoured);
    assert.deepEqual(Buffer.from((await decryptByIdentities(sealed, [identity])) ?? []), secret);
    assert.equal(await decryptByIdentities(sealed, [other.identity]), undefined);
  }
  for (const content of contents) {
    assert.deepEqual(await openedByGo(await sealedAsBackup({ recipients }, content), opens), content);
    assert.deepEqual(await openedAsBackup(await sealedByGo({ recipients }, content, false), opens), content);
  }
  const damaged = await sealedByGo({ recipients }, contents[3] as Buffer, false);
  damaged[damaged.length - 20]! ^= 1;
  await assert.rejects(openedAsBackup(damaged, opens), /damaged/);
  const ours = await sealedAsBackup({ recipients }, contents[3] as Buffer);
  ours[ours.length - 20]! ^= 1;
  assert.ok((await ask({ do: 'open', ...opens, bytes: base64(ours) })).error !== undefined);
  say(`${name}: root key and backups both ways; another identity and an altered byte are refused`);
}

const hybrids = [await byUs(generateHybridIdentity), await byGo('hybrid')] as const;
const curves = [await byUs(generateX25519Identity), await byGo('x25519')] as const;
const [hybridPrefixes, curvePrefixes] = [
  ['AGE-SECRET-KEY-PQ-1', 'age1pq1'],
  ['AGE-SECRET-KEY-1', 'age1'],
] as const;
await bothWays('a post-quantum identity of ours', hybrids, hybridPrefixes);
await bothWays('a post-quantum identity of Go', [hybrids[1], hybrids[0]], hybridPrefixes);
await bothWays('an X25519 identity of ours', curves, curvePrefixes);
await bothWays('an X25519 identity of Go', [curves[1], curves[0]], curvePrefixes);

const officers = [...hybrids, curves[1]];
const shares = await splitForOfficers(
  secret,
  2,
  officers.map(({ recipient }) => recipient),
);
for (const [index, share] of shares.entries()) {
  const opens = { identities: [officers[index]!.identity] };
  assert.deepEqual(await openedByGo(share, opens), Buffer.from((await openShare(share, opens.identities))!));
}
// Opened by Go, sealed again by Go to the next officer, joined by us.
const handed = await Promise.all(
  [shares[0]!, shares[1]!].map(async (share, index) => {
    const opened = await openedByGo(share, { identities: [officers[index]!.identity] });
    const sealed = await sealedByGo({ recipients: [officers[index + 1]!.recipient] }, opened, true);
    return (await openShare(sealed, [officers[index + 1]!.identity])) ?? assert.fail('a share of Go');
  }),
);
assert.deepEqual(Buffer.from(await joinShares(handed)), secret);
say('shares for officers with keys of both kinds: opened, handed on and joined');

const passphrase = 'correct horse battery staple';
const byPassphrase = await encryptForPassphrase(secret, Buffer.from(passphrase));
assert.deepEqual(await openedByGo(byPassphrase, { passphrase }), secret);
const other = await ask({ do: 'open', passphrase: 'another', bytes: base64(byPassphrase) });
assert.ok(other.error !== undefined);
const ofGo = await sealedByGo({ passphrase }, secret, true);
assert.deepEqual(Buffer.from((await decryptByPassphrase(ofGo, Buffer.from(passphrase))) ?? []), secret);
const quick = await sealedByGo({ passphrase, log_n: 10 }, contents[3] as Buffer, false);
assert.deepEqual(await openedAsBackup(quick, { passphrase }), contents[3]);
assert.equal(await decryptByPassphrase(quick, Buffer.from('another')), undefined);
const backup = await sealedAsBackup({ passphrase, scryptLogN: 10 }, contents[3] as Buffer);
assert.deepEqual(await openedByGo(backup, { passphrase }), contents[3]);
say('a passphrase: root key and backups both ways; another passphrase is refused');

go.stdin.end();
const version = /filippo\.io\/age (\S+)/.exec(readFileSync(join(import.meta.dirname, 'go.mod'), 'utf8'))?.[1];
say(`done: intaglio and filippo.io/age ${version} agree`);

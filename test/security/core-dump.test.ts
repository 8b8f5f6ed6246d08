import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdtempSync, openSync, readFileSync, readSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { encodeBatch } from '../../src/engine/batch.ts';
import type { Engine, RootRef, Scheme } from '../../src/engine/engine.ts';
import { createOpensslEngine } from '../../src/engine/openssl/index.ts';
import { aad, schemesOf, signItem, tenant } from '../support/batches.ts';
import { availableEngines, testEngineOptions } from '../support/engines.ts';
import { type MemoryRange, memoryOf, memoryRanges } from './memory.ts';
import { knownWrapKeys, wrapItems } from './sealing-secrets.ts';
import {
  createFinder,
  distinctBytes,
  type KnownKey,
  keyTypeOf,
  knownEd25519,
  knownMlDsa,
  knownP256,
  knownRsa,
  type Mark,
  pieces,
} from './secrets.ts';

const child = fileURLToPath(new URL('./core-child.js', import.meta.url));
/** The opened forms of keys that wrap. */
const kept = [
  'x25519 secret',
  'ml-kem-768 dk',
  'ml-kem-1024 dk',
  'X-Wing X25519 half',
  'xaes-256-gcm secret',
];

const control = distinctBytes('core control');

test('native: a full core of the process while it signs, encrypts, unwraps and changes its root key has no root key, and none of its keys either once it rests', {
  skip: reasonToSkip(),
}, async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'intaglio-core-'));
  let signer: ChildProcess | undefined;
  try {
    const rootPath = join(directory, 'root');
    // Sealed here with the other engine: the child gets blobs, never a plaintext.
    const engine = createOpensslEngine(testEngineOptions);
    const root = engine.openRoot({ kind: 'file-create', path: rootPath });
    const keys = [
      knownEd25519(),
      ...(['ml-dsa-44', 'ml-dsa-65', 'ml-dsa-87'] as const).map(knownMlDsa),
      knownP256(),
      ...([2048, 3072, 4096] as const).map(knownRsa),
    ];
    // Each key from its blob every time, then once from the blob and from the cache after that.
    const items = [0, 1].flatMap((cached) =>
      keys.flatMap((key, index) => {
        const secret = Uint8Array.from(key.secret);
        const sealed = engine.importKey(root, keyTypeOf(key), tenant, aad, secret);
        const keyNumber = cached * (index + 1);
        const every = schemesOf[key.keyTypeName] as readonly Scheme[];
        return Array.from({ length: 4 }, (_, n) =>
          signItem(every[n % every.length] as Scheme, sealed, Buffer.of(n), { keyNumber }),
        );
      }),
    );
    const wrapKeys = knownWrapKeys();
    const wraps = [0, keys.length + 1].flatMap((first) => wrapItems(engine, root, wrapKeys, first));
    const requestPath = join(directory, 'request');
    writeFileSync(requestPath, encodeBatch([...items, ...wraps]));
    const nextPath = join(directory, 'next');
    engine.openRoot({ kind: 'file-create', path: nextPath });
    const keysPath = join(directory, 'keys');
    writeFileSync(keysPath, JSON.stringify(keys.map((key) => sealedOf(engine, root, key))));

    const places = [rootPath, nextPath, keysPath, requestPath];
    signer = spawn(process.execPath, [child, ...places], { stdio: ['pipe', 'pipe', 'inherit'] });
    const [line] = (await once(signer.stdout as NodeJS.ReadableStream, 'data')) as [Buffer];
    assert.equal(line.toString(), 'signed\n');

    const marks = [...keys.flatMap((key) => key.marks), ...pieces('control', control)];
    marks.push(...wrapKeys.flatMap((key) => key.marks));
    marks.push(...pieces('root key', readFileSync(rootPath)));
    marks.push(...pieces('next root key', readFileSync(nextPath)));
    const { pid, stdin, stdout } = signer;
    assert.ok(pid !== undefined && stdin !== null && stdout !== null);
    // In the middle of whatever its threads do.
    process.kill(pid, 'SIGSTOP');
    while (!/^State:\tT/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'))) await delay(1);
    const ranges = memoryRanges(pid);
    const outside = findInMemory(
      pid,
      ranges.filter(({ dumpable, stack }) => dumpable && !stack),
      marks,
    );
    const onStacks = findInMemory(
      pid,
      ranges.filter(({ dumpable, stack }) => dumpable && stack),
      marks,
    );
    const core = join(directory, 'core');
    execFileSync('gcore', ['-o', core, `${pid}`], { stdio: 'ignore' });
    const dumped = findInFile(`${core}.${pid}`, marks);
    // Threads that use keys have their stacks left out.
    assert.deepEqual([...onStacks], []);
    // What is read here is what a core has.
    assert.deepEqual([...dumped].sort(), [...outside].sort());
    assert.ok(outside.has('control'));
    outside.delete('control');
    // The state of liboqs' hash function, for microseconds: of no other kind of key.
    for (const what of outside) assert.match(what, /^ML-/);
    t.diagnostic(`on the heap at that moment: ${[...outside].join(', ') || 'nothing'}`);
    // In the pages that are excluded from dumps the keys are there: the search is not blind.
    const excluded = findInMemory(
      pid,
      ranges.filter(({ dumpable }) => !dumpable),
      marks,
    );
    for (const what of ['root key', 'Ed25519 seed', 'ML-DSA K', 'P-256 scalar', 'RSA p', ...kept])
      assert.ok(excluded.has(what), what);

    process.kill(pid, 'SIGCONT');
    stdin.write('rest\n');
    assert.equal(String(await once(stdout, 'data')), 'rests\n');
    const atRest = memoryRanges(pid).filter(({ dumpable }) => dumpable);
    assert.deepEqual([...findInMemory(pid, atRest, marks)], ['control']);
  } finally {
    signer?.kill('SIGKILL');
    if (signer?.exitCode === null && signer.signalCode === null) await once(signer, 'exit');
    rmSync(directory, { recursive: true });
  }
});

function sealedOf(engine: Engine, root: RootRef, key: KnownKey) {
  const { sealed } = engine.importKey(root, keyTypeOf(key), tenant, aad, Uint8Array.from(key.secret));
  return { tenant, aad, sealed: Buffer.from(sealed).toString('base64') };
}

function reasonToSkip(): string | false {
  if (!availableEngines().some(({ name }) => name === 'native'))
    return 'the native engine is not among those under test';
  if (spawnSync('gcore', ['--help']).error !== undefined)
    return 'gcore (Debian package gdb) is not installed';
  return false;
}

function findInMemory(pid: number, ranges: readonly MemoryRange[], marks: readonly Mark[]): Set<string> {
  const find = createFinder(marks);
  const found = new Set<string>();
  for (const part of memoryOf(pid, ranges)) for (const what of find(part)) found.add(what);
  return found;
}

/** The longest mark has 64 bytes, so a block is searched with the first 63 bytes of the next. */
const overlapBytes = 63;
const blockBytes = 1 << 16;
const zeros = Buffer.alloc(blockBytes);

function findInFile(path: string, marks: readonly Mark[]): Set<string> {
  const find = createFinder(marks);
  const found = new Set<string>();
  const file = openSync(path, 'r');
  const chunk = Buffer.allocUnsafeSlow(256 * blockBytes + overlapBytes);
  for (let position = 0; ; position += 256 * blockBytes) {
    const length = readSync(file, chunk, 0, chunk.length, position);
    for (let at = 0; at < length; at += blockBytes) {
      // Most of a core is untouched memory: 1.3 GB of it, written by gdb as zeros.
      const end = Math.min(at + blockBytes, length);
      if (zeros.compare(chunk, at, end, 0, end - at) === 0) continue;
      for (const what of find(chunk.subarray(at, Math.min(end + overlapBytes, length)))) found.add(what);
    }
    if (length < chunk.length) break;
  }
  closeSync(file);
  return found;
}

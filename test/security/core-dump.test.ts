import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdtempSync, openSync, readFileSync, readSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { encodeBatch } from '../../src/engine/batch.ts';
import type { Scheme } from '../../src/engine/engine.ts';
import { createOpensslEngine } from '../../src/engine/openssl/index.ts';
import { aad, schemesOf, signItem, tenant } from '../support/batches.ts';
import { availableEngines, testEngineOptions } from '../support/engines.ts';
import { knownWrapKeys, wrapItems } from './sealing-secrets.ts';
import {
  createFinder,
  distinctBytes,
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

test('native: a full core of the process after signing and wrapping has no copy of its keys, nor of its root key, by whichever way that came', {
  skip: reasonToSkip(),
}, async () => {
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

    signer = spawn(process.execPath, [child, rootPath, requestPath], { stdio: ['pipe', 'pipe', 'inherit'] });
    const [line] = (await once(signer.stdout as NodeJS.ReadableStream, 'data')) as [Buffer];
    assert.equal(line.toString(), 'signed\n');

    const marks = [...keys.flatMap((key) => key.marks), ...pieces('control', control)];
    marks.push(...wrapKeys.flatMap((key) => key.marks));
    marks.push(...pieces('root key', readFileSync(rootPath)));
    const core = join(directory, 'core');
    const dump = (...options: string[]) => {
      execFileSync('gcore', [...options, '-o', core, `${signer?.pid}`], { stdio: 'ignore' });
      return findInFile(`${core}.${signer?.pid}`, marks);
    };
    assert.deepEqual([...dump()], ['control']);
    // With the pages that are excluded from dumps the keys are there: the search is not blind.
    const everything = dump('-a');
    for (const what of ['root key', 'Ed25519 seed', 'ML-DSA K', 'P-256 scalar', 'RSA p', ...kept])
      assert.ok(everything.has(what), what);
  } finally {
    signer?.stdin?.end();
    if (signer?.exitCode === null) await once(signer, 'exit');
    rmSync(directory, { recursive: true });
  }
});

function reasonToSkip(): string | false {
  if (!availableEngines().some(({ name }) => name === 'native'))
    return 'the native engine is not among those under test';
  if (spawnSync('gcore', ['--help']).error !== undefined)
    return 'gcore (Debian package gdb) is not installed';
  return false;
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

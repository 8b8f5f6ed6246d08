import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { availableEngines } from '../support/engines.ts';
import {
  createFinder,
  distinctBytes,
  type KnownKey,
  knownEd25519,
  knownMlDsa65,
  knownP256,
  knownRsa2048,
  pieces,
} from './secrets.ts';

const child = fileURLToPath(new URL('./heap-child.ts', import.meta.url));
const control = distinctBytes('heap control');

for (const { name } of availableEngines()) {
  test(`${name}: after signing, JavaScript holds no private key bytes, as text or in any ArrayBuffer`, () => {
    const directory = mkdtempSync(join(tmpdir(), 'intaglio-heap-'));
    try {
      const keys = [knownEd25519(), knownMlDsa65(), knownP256(), knownRsa2048()];
      for (const { keyTypeName, secret } of keys) {
        writeFileSync(join(directory, `${keyTypeName}.secret`), secret);
      }
      const env = { ...process.env, KMS_ENGINE: name };
      execFileSync(process.execPath, [child, name, directory], { env });
      checkBuffers(readFileSync(join(directory, 'buffers.bin')), keys);
      checkStrings(join(directory, 'snapshot.json'), keys);
    } finally {
      rmSync(directory, { recursive: true });
    }
  });
}

function checkBuffers(contents: Buffer, keys: readonly KnownKey[]): void {
  const marks = keys.flatMap((key) => key.marks);
  const found = createFinder([...marks, ...pieces('control', control)])(contents);
  assert.deepEqual([...found], ['control']);
}

/** The snapshot's strings are decoded, so that escapes of its JSON hide nothing. */
function checkStrings(snapshotPath: string, keys: readonly KnownKey[]): void {
  const { strings } = JSON.parse(readFileSync(snapshotPath, 'utf8')) as { strings: string[] };
  const text = strings.join('\n');
  for (const form of Object.keys(forms) as (keyof typeof forms)[]) {
    assert.ok(text.includes(forms[form](control)), `the planted control is found as ${form}`);
    for (const { keyTypeName, secret, marks } of keys) {
      for (const bytes of [secret, ...marks.map((mark) => mark.bytes)]) {
        assert.ok(!text.includes(forms[form](bytes)), `${keyTypeName} as ${form}`);
      }
    }
  }
}

const forms = {
  latin1: (bytes: Buffer) => bytes.toString('latin1'),
  // The snapshot is UTF-8, in which unpaired surrogates are lost: the longest part without any.
  utf16: (bytes: Buffer) =>
    bytes
      .toString('utf16le')
      .split(/[\ud800-\udfff]+/)
      .reduce((longest, part) => (part.length > longest.length ? part : longest)),
  hex: (bytes: Buffer) => bytes.toString('hex'),
  // Without the last characters, which depend on what follows in a longer text.
  base64: (bytes: Buffer) => bytes.toString('base64').slice(0, Math.floor(bytes.length / 3) * 4),
};

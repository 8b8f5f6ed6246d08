import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { after } from 'node:test';
import fc from 'fast-check';
import { batchStatuses } from '../../src/engine/batch.ts';
import { type Engine, keyTypes } from '../../src/engine/engine.ts';
import {
  aad,
  flipBit,
  type SigningKeyTypeName,
  schemesOf,
  signOne,
  tenant,
  verifyOne,
} from '../support/batches.ts';
import { availableEngines } from '../support/engines.ts';

const directory = mkdtempSync(join(tmpdir(), 'intaglio-cross-'));
after(() => rmSync(directory, { recursive: true }));

const engines = availableEngines().map(({ create }) => create());
const path = join(directory, 'root');
const message = Buffer.from('a message');

for (const [index, sealer] of engines.entries()) {
  // Each engine makes a root file once, and the other reads it.
  const rootPath = `${path}-${index}`;
  sealer.openRoot({ kind: 'file-create', path: rootPath });
  for (const opener of engines) {
    const way = `${sealer.description.name} -> ${opener.description.name}`;
    for (const keyTypeName of Object.keys(schemesOf) as SigningKeyTypeName[]) {
      test(`${way}: a sealed ${keyTypeName} key opens in the other engine and signs for its public key`, () => {
        const sealerRoot = sealer.openRoot({ kind: 'file', path: rootPath });
        const openerRoot = opener.openRoot({ kind: 'file', path: rootPath });
        const key = sealer.generate(sealerRoot, keyTypes[keyTypeName], tenant, aad);
        for (const scheme of schemesOf[keyTypeName]) {
          const { status, signature } = signOne(opener, openerRoot, scheme, key, message);
          assert.equal(status, batchStatuses.ok);
          const verified = verifyOne(sealer, sealerRoot, scheme, key.publicKey, message, signature);
          assert.equal(verified, batchStatuses.ok);
          const sealed = flipBit(key.sealed, key.sealed.length * 4);
          const altered = signOne(opener, openerRoot, scheme, { ...key, sealed }, message);
          assert.equal(altered.status, batchStatuses.keyUnusable);
        }
      });
    }
  }
}

for (const keyTypeName of [
  ...(['ed25519', 'ml-dsa-44', 'ecdsa-p256', 'ecdsa-p384', 'rsa-2048'] as const),
  ...(['mldsa44-ed25519', 'mldsa65-p256'] as const),
]) {
  test(`property: damaged ${keyTypeName} keys and signatures have the same status in every engine`, () => {
    const [maker] = engines as [Engine];
    const roots = engines.map((engine) => engine.openRoot({ kind: 'memory' }));
    const key = maker.generate(roots[0], keyTypes[keyTypeName], tenant, aad);
    for (const scheme of schemesOf[keyTypeName]) {
      const { signature } = signOne(maker, roots[0], scheme, key, message);
      fc.assert(
        fc.property(damage(key.publicKey), damage(signature), (publicKey, damaged) => {
          const statuses = engines.map((engine, index) =>
            verifyOne(engine, roots[index], scheme, publicKey, message, damaged),
          );
          assert.equal(new Set(statuses).size, 1, `${statuses}`);
          assert.notEqual(statuses[0], batchStatuses.internal);
        }),
        { numRuns: 300 },
      );
    }
  });
}

/** `value` as it is, with bytes changed, cut, lengthened, or something else altogether. */
function damage(value: Uint8Array): fc.Arbitrary<Uint8Array> {
  const index = fc.nat(value.length - 1);
  return fc.oneof(
    fc.constant(value),
    fc.tuple(index, fc.nat(255)).map(([at, byte]) => Uint8Array.from(value).fill(byte, at, at + 1)),
    index.map((length) => value.slice(0, length)),
    fc.uint8Array({ minLength: 1, maxLength: 40 }).map((tail) => Buffer.concat([value, tail])),
    fc.uint8Array({ maxLength: value.length + 8 }),
    fc.uint8Array({ minLength: value.length, maxLength: value.length }),
  );
}

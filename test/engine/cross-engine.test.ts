import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { after } from 'node:test';
import { batchStatuses } from '../../src/engine/batch.ts';
import { type KeyTypeName, keyTypes } from '../../src/engine/engine.ts';
import { aad, flipBit, schemesOf, signOne, tenant, verifyOne } from '../support/batches.ts';
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
    for (const keyTypeName of Object.keys(keyTypes) as KeyTypeName[]) {
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

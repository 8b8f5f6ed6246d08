import assert from 'node:assert/strict';
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { after, before, describe } from 'node:test';
import { makeSource } from '../../../src/cli/root/new-source.ts';
import type { ListedSource } from '../../../src/custody/root-key/listed-source.ts';
import { type Reading, readSource } from '../../../src/custody/root-key/read-source.ts';
import { nameOfBytes, renewAll } from '../../../src/custody/root-key/renew-all.ts';
import {
  changeRootSources,
  readRootSources,
  writeRootSources,
} from '../../../src/custody/root-key/sources-file.ts';
import { newReference, tpmSealing } from '../../../src/custody/tpm/root-sealing.ts';
import { readLockout } from '../../../src/custody/tpm/state.ts';
import { createOpensslEngine } from '../../../src/engine/openssl/index.ts';
import { createSwtpm, noSwtpm, type Swtpm } from '../../support/swtpm.ts';
import { temporaryDirectory } from '../../support/temporary-directory.ts';

describe('a TPM as a source of the root key', { skip: noSwtpm }, () => {
  const engine = createOpensslEngine({ reseedIntervalOps: 1, keyCacheBytes: 1 });
  const operatorKey = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    .publicKey.export({ format: 'der', type: 'spki' })
    .toString('base64');
  let tpm: Swtpm;
  before(async () => {
    tpm = await createSwtpm();
  });
  after(() => tpm.remove());

  async function made(t: test.TestContext) {
    const dataDir = temporaryDirectory(t);
    const around: Reading = {
      ...{ dataDir, rule: { groupAllowed: false }, credentials: undefined, tpm: tpmSealing },
    };
    const secret = randomBytes(32);
    const writePin = (pin: string) => writeFileSync(join(dataDir, 'pin'), `${pin}\n`, { mode: 0o600 });
    writePin('horse');
    const { source, proof } = await makeSource(
      {
        ...{ kind: 'tpm', tcti: tpm.tcti, pcrs: [7], operatorKey, reference: newReference() },
        pin: { from: 'file', path: 'pin' },
      },
      secret,
      { root: nameOfBytes(engine, secret), generation: 1, listed: [], id: undefined },
      around,
    );
    assert.equal(proof, 'opened as a start does it');
    return { around, source, secret, writePin, dataDir };
  }

  test('it gives the key that it was given', async (t) => {
    const { around, source, secret } = await made(t);
    assert.deepEqual(Buffer.from(await readSource(source, around)), secret);
  });

  test('a PIN that was refused is not tried by later starts until its file changes', async (t) => {
    const { around, source, writePin } = await made(t);
    const failures = () => tpm.use(async (client) => (await readLockout(client)).failures);
    const before = await failures();
    writePin('wrong');
    await assert.rejects(async () => readSource(source, around), /refused the PIN, and counts/);
    for (let start = 0; start < 3; start++)
      await assert.rejects(async () => readSource(source, around), /not tried again by itself/);
    assert.equal(await failures(), before + 1);
    writePin('horse');
    await readSource(source, around);
  });

  test('a rotation seals the next key to the TPM beside the one before, under the same storage root key', async (t) => {
    const { around, source, secret, dataDir } = await made(t);
    const parents: (string | undefined)[] = [];
    const seal: typeof tpmSealing.seal = (where, ...more) => {
      parents.push(where.parent);
      return tpmSealing.seal(where, ...more);
    };
    const next = await renewAll([source], 2, engine, { ...around, tpm: { ...tpmSealing, seal } });
    assert.ok(source.kind === 'tpm');
    assert.deepEqual(parents, [source.sealed.parent]);
    const listed = readRootSources(dataDir);
    assert.ok(listed.ok);
    const [one, other] = listed.value?.sources ?? [];
    assert.deepEqual(Buffer.from(await readSource(one!, around)), secret);
    assert.deepEqual(Buffer.from(await readSource(other!, around)), Buffer.from(next));
    assert.deepEqual([other?.id, other?.generation], ['tpm-2', 2]);
  });

  test('what is approved while a rotation makes the next key is approved for both', async (t) => {
    const { around, source, dataDir } = await made(t);
    writeRootSources(dataDir, [source]);
    assert.ok(source.kind === 'tpm');
    const approved = [
      { values: { 7: '11'.repeat(32) }, signature: Buffer.alloc(64).toString('base64'), approvedAtMs: 1 },
    ];
    const seal: typeof tpmSealing.seal = async (...all) => {
      const sealed = await tpmSealing.seal(...all);
      // A command that runs beside it, and one before that was killed within its writing.
      writeFileSync(join(dataDir, 'root-sources.json.lock'), '');
      changeRootSources(dataDir, (now = []) => now.map((one) => ({ ...one, approved }) as ListedSource));
      return sealed;
    };
    await renewAll([source], 2, engine, { ...around, tpm: { ...tpmSealing, seal } });
    const listed = readRootSources(dataDir);
    assert.ok(listed.ok);
    const found = listed.value?.sources.map((one) => one.kind === 'tpm' && one.approved);
    assert.deepEqual(found, [approved, approved]);
    assert.deepEqual(readdirSync(dataDir).sort(), ['pin', 'root-sources.json']);
  });
});

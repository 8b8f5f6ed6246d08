import { createCipheriv, createDecipheriv, createSecretKey, randomBytes } from 'node:crypto';
import { keyTypes, schemes } from '../../src/algorithms/ids.ts';
import { type BatchItem, batchOps } from '../../src/engine/batch.ts';
import { buildKeyReference } from '../../src/engine/key-reference.ts';
import { loadNativeEngine } from '../../src/engine/native/index.ts';
import { createOpensslEngine } from '../../src/engine/openssl/index.ts';
import { fieldBytes } from '../support/field.ts';
import type { UnderTimes } from '../support/under.ts';
import { timeBatch } from './batch-loop.ts';
import { timeUs } from './sample.ts';

/**
 * Comparator: a DEK is unwrapped by its KEK, and encrypts or decrypts 1 KiB by AES-256-GCM: in the engine as the workers call it,
 * and by node:crypto. Reads the window of each in milliseconds from its command line, prints UnderTimes.
 */

const windowMs = Number(process.argv[2]);
const options = { reseedIntervalOps: 100_000, keyCacheBytes: 2 ** 20 };

const info = Buffer.from('ron-kms::bench::bench::wrap::0196c1d2-7a3b-7c4d-8e5f-0123456789ab#v1');
const wrapAad = Buffer.from('intaglio::dek::5::dek-1::v1');
const aad = Buffer.from('intaglio::dek::5::dek-1::');
const field = randomBytes(fieldBytes);

function engineTimes(): Pick<UnderTimes, 'engineEncryptUs' | 'engineDecryptUs'> {
  const native = loadNativeEngine(options);
  const engine = 'unavailable' in native ? createOpensslEngine(options) : native;
  const root = engine.openRoot({ kind: 'memory' });
  const { sealed } = engine.generate(root, keyTypes['aes-256-gcm'], 'bench', 'bench');
  const of = {
    ...{ scheme: schemes['aes-256-gcm'], keyNumber: 1_000 },
    key: buildKeyReference('bench', 'bench', sealed),
  };
  const run = (item: Pick<BatchItem, 'op' | 'inputs'>) =>
    timeBatch(engine, root, { ...of, ...item }, windowMs);
  const [wrapped] = run({ op: batchOps.wrap, inputs: [randomBytes(32), info, wrapAad] }).outputs;
  const under = [wrapped as Uint8Array, info, wrapAad];
  const made = run({ op: batchOps.encryptUnder, inputs: [...under, field, aad] });
  const opened = run({ op: batchOps.decryptUnder, inputs: [...under, ...made.outputs, aad] });
  if (!field.equals(opened.outputs[0] as Uint8Array)) throw new Error('the engine decrypts something else');
  engine.wipe();
  return { engineEncryptUs: made.us, engineDecryptUs: opened.us };
}

type KeyLike = Parameters<typeof createCipheriv>[1];

function seal(key: KeyLike, plaintext: Uint8Array, bound: Uint8Array): Buffer {
  const nonce = randomBytes(12);
  const cipher = createCipheriv('aes-256-gcm', key, nonce).setAAD(bound);
  return Buffer.concat([nonce, cipher.update(plaintext), cipher.final(), cipher.getAuthTag()]);
}

function open(key: KeyLike, sealed: Buffer, bound: Uint8Array): Buffer {
  const decipher = createDecipheriv('aes-256-gcm', key, sealed.subarray(0, 12)).setAAD(bound);
  decipher.setAuthTag(sealed.subarray(-16));
  return Buffer.concat([decipher.update(sealed.subarray(12, -16)), decipher.final()]);
}

function nodeTimes(): Pick<UnderTimes, 'nodeEncryptUs' | 'nodeDecryptUs'> {
  const kek = createSecretKey(randomBytes(32));
  const wrapped = seal(kek, randomBytes(32), wrapAad);
  const dek = () => createSecretKey(open(kek, wrapped, wrapAad));
  const sealed = seal(dek(), field, aad);
  if (!field.equals(open(dek(), sealed, aad))) throw new Error('node:crypto decrypts something else');
  return {
    nodeEncryptUs: timeUs(() => seal(dek(), field, aad), windowMs),
    nodeDecryptUs: timeUs(() => open(dek(), sealed, aad), windowMs),
  };
}

process.stdout.write(JSON.stringify({ ...engineTimes(), ...nodeTimes() } satisfies UnderTimes));

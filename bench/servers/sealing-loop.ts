import { keyTypes, schemes } from '../../src/algorithms/ids.ts';
import { type BatchItem, batchOps } from '../../src/engine/batch.ts';
import type { Engine, GeneratedKey } from '../../src/engine/engine.ts';
import { buildKeyReference } from '../../src/engine/key-reference.ts';
import { wordInput } from '../../src/engine/rooms.ts';
import {
  encryptingNames,
  generatedNames,
  plaintextBytes,
  wrappedBytes,
  wrappingNames,
} from '../support/surface-names.ts';
import { timeBatch } from './batch-loop.ts';
import { timeUs } from './sample.ts';

const text = (value: string) => new Uint8Array(Buffer.from(value));
const info = text('ron-kms::bench::bench::wrap::0196c1d2-7a3b-7c4d-8e5f-0123456789ab#v1');
const label = text('ron-kms::bench::bench::derive::aes-256-gcm::edge-1.example::a::7');
const none = new Uint8Array(0);

type Item = Omit<BatchItem, 'keyNumber'>;

/** Microseconds of one core for encrypting, wrapping, deriving and the making of a key, each in a loop, by the name of the work. */
export function timeSealing(engine: Engine, root: unknown, windowMs: number): Record<string, number> {
  const found: Record<string, number> = {};
  let lastNumber = 1_000;
  const time = (name: string, item: Item) => {
    lastNumber += 1;
    const { us, outputs } = timeBatch(engine, root, { ...item, keyNumber: lastNumber }, windowMs);
    found[name] = us;
    return outputs as readonly [Uint8Array, ...Uint8Array[]];
  };
  const make = (name: keyof typeof keyTypes) => engine.generate(root, keyTypes[name], 'bench', 'bench');
  const reference = ({ sealed }: GeneratedKey) => buildKeyReference('bench', 'bench', sealed);

  for (const name of encryptingNames) {
    const of = { scheme: schemes[name], key: reference(make(name)) };
    const plaintext = new Uint8Array(plaintextBytes);
    const encrypted = time(`encrypt ${name}`, { ...of, op: batchOps.encrypt, inputs: [plaintext, none] });
    time(`decrypt ${name}`, { ...of, op: batchOps.decrypt, inputs: [...encrypted, none] });
  }
  for (const name of wrappingNames) {
    const key = make(name);
    const scheme = schemes[name];
    const wraps = key.publicKey.length > 0 ? key.publicKey : reference(key);
    const inputs = [new Uint8Array(wrappedBytes), info, none];
    const [wrapped] = time(`wrap ${name}`, { op: batchOps.wrap, scheme, key: wraps, inputs });
    const unwrap = { op: batchOps.unwrap, scheme, key: reference(key), inputs: [wrapped, info, none] };
    time(`unwrap ${name}`, unwrap);
  }
  time('derive', {
    op: batchOps.derive,
    scheme: schemes['hkdf-sha256'],
    key: reference(make('hkdf-sha256')),
    inputs: [label, wordInput(keyTypes['aes-256-gcm']), text('bench'), text('bench')],
  });
  for (const name of generatedNames) found[`generate ${name}`] = timeUs(() => make(name), windowMs);
  return found;
}

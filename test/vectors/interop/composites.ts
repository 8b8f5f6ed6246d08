/**
 * Composite signatures for another implementation, and the check of its own: see docs/signing.md.
 * `composites.ts lines`: signatures of both engines, and spoiled ones, as lines. `composites.ts check`: verifies such lines.
 */
import { findAlgorithm } from '../../../src/algorithms/registry.ts';
import { batchOps, batchStatuses } from '../../../src/engine/batch.ts';
import { keyTypes, schemes } from '../../../src/engine/engine.ts';
import { buildKeyReference } from '../../../src/engine/key-reference.ts';
import { aad, flipBit, runBatch, signatureOf, tenant } from '../../support/batches.ts';
import { availableEngines } from '../../support/engines.ts';

/** Our names and the draft's. */
const names = {
  'mldsa65-ed25519': 'MLDSA65-Ed25519-SHA512',
  'mldsa44-ed25519': 'MLDSA44-Ed25519-SHA512',
  'mldsa65-p256': 'MLDSA65-ECDSA-P256-SHA512',
} as const;
type Name = keyof typeof names;
const ours = Object.keys(names) as Name[];
const engines = availableEngines().map(({ create }) => create());

const field = (bytes: Uint8Array) => (bytes.length === 0 ? '-' : Buffer.from(bytes).toString('base64'));
const bytesOf = (text: string) => (text === '-' ? Buffer.alloc(0) : Buffer.from(text, 'base64'));
const prefixOf = (name: Name) => findAlgorithm(name)?.components[0].spkiPrefix ?? new Uint8Array(0);

function lines(): void {
  for (const engine of engines) {
    const root = engine.openRoot({ kind: 'memory' });
    for (const name of ours) {
      const { sealed, publicKey } = engine.generate(root, keyTypes[name], tenant, aad);
      const key = buildKeyReference(tenant, aad, sealed);
      for (const [message, context] of [
        [Buffer.from('hello world'), Buffer.alloc(0)],
        [Buffer.from('hello world'), Buffer.from('context')],
        [Buffer.alloc(65_536, 7), Buffer.alloc(255, 9)],
      ] as const) {
        const inputs = context.length === 0 ? [message] : [message, context];
        const item = { op: batchOps.sign, scheme: schemes[name], keyNumber: 0, key, inputs };
        const signature = signatureOf(runBatch(engine, root, [item])[0]);
        const line = (s: Uint8Array, expected: string) =>
          [
            names[name],
            field(Buffer.concat([prefixOf(name), publicKey])),
            ...[message, context, s].map(field),
            expected,
          ].join(' ');
        console.log(line(signature, 'ok'));
        console.log(line(flipBit(signature, 999), 'bad'));
        console.log(line(flipBit(signature, signature.length * 8 - 9), 'bad'));
      }
    }
  }
}

async function check(): Promise<void> {
  let text = '';
  for await (const chunk of process.stdin) text += chunk;
  const all = text.split('\n').filter((line) => line !== '');
  let valid = 0;
  for (const line of all) {
    const [theirs, spki = '', message = '', context = '', signature = ''] = line.split(' ');
    const name = ours.find((one) => names[one] === theirs);
    if (name === undefined) throw new Error(`${theirs} is none of ours`);
    const key = bytesOf(spki).subarray(prefixOf(name).length);
    const own = context === '-' ? [] : [bytesOf(context)];
    const inputs = [bytesOf(message), bytesOf(signature), ...own];
    for (const engine of engines) {
      const root = engine.openRoot({ kind: 'memory' });
      const item = { op: batchOps.verify, scheme: schemes[name], keyNumber: 0, key, inputs };
      if (runBatch(engine, root, [item])[0]?.status === batchStatuses.ok) valid += 1;
    }
  }
  const expected = all.length * engines.length;
  console.log(`${valid} of ${expected} verifications of the other's signatures hold`);
  process.exitCode = valid === expected && expected > 0 ? 0 : 1;
}

if (process.argv[2] === 'check') await check();
else lines();

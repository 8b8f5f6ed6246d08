import type { Algorithm } from '../../algorithms/descriptor.ts';
import { findAlgorithm } from '../../algorithms/registry.ts';
import { batchOps } from '../../engine/batch.ts';
import type { KeyHandle } from '../../keys/keyring.ts';
import { softwareBackend } from '../../keys/record.ts';
import { createCostMeter } from '../../queue/cost-meter.ts';
import type { OperationParts } from '../operation.ts';
import { givenWrapped, infoOf } from '../sealing/import-key.ts';
import type { GivenKek } from './kek-operations.ts';

const wrappingAlgorithm = findAlgorithm('x25519+ml-kem-768') as Algorithm;
const kekAlgorithm = findAlgorithm('aes-256-gcm') as KeyHandle['algorithm'];
const wrapMeter = createCostMeter(75);
const noAad = new Uint8Array(0);

/** Takes a KEK of 32 bytes that others have made. It goes the way of an import: key material has no second way into the engine. */
export function givenKekBy(parts: OperationParts): GivenKek {
  return (plain, caller) => ({
    source: { kind: 'imported', publicOnly: false },
    async make(kid) {
      const { tenant } = caller;
      const key = await parts.wrappingKeys.current(tenant, wrappingAlgorithm);
      if (!key.ok) return key;
      const { id: wrappingKeyId, publicKey } = key.value;
      const [{ scheme }] = wrappingAlgorithm.components[0].schemes;
      const inputs = [plain, Buffer.from(infoOf(tenant, wrappingKeyId)), noAad];
      const ran = await parts.runWork(tenant, {
        kind: 'encapsulate',
        items: [{ op: batchOps.wrap, scheme, keyNumber: 0, key: publicKey, inputs, home: softwareBackend }],
        meters: [wrapMeter],
      });
      if (!ran.ok) return ran;
      const wrapped = Uint8Array.from(ran.value[0]?.outputs[0] ?? noAad);
      const given = givenWrapped(parts, { wrappingKeyId, wrapped }, kekAlgorithm, caller);
      return given.ok ? given.value.make(kid) : given;
    },
  });
}

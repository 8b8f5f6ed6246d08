import assert from 'node:assert/strict';
import test from 'node:test';
import { algorithmNames, findAlgorithm } from '../../src/algorithms/registry.ts';
import { ok, refuse } from '../../src/core/result.ts';
import { batchStatuses } from '../../src/engine/batch.ts';
import type { CreateKey } from '../../src/keys/keyring.ts';
import type { OperationParts } from '../../src/operations/operation.ts';
import { importKeyOperation } from '../../src/operations/sealing/import-key.ts';
import { WrappingKeys } from '../../src/operations/sealing/wrapping-keys.ts';
import { noPqPolicy } from '../../src/policy/phases.ts';
import { codeOf, NamedParts, SetClock, unwrap } from '../support/keyring.ts';

const caller = { tenant: 'acme', actor: 'test' } as never;
const kid = 'acme/web/ed25519/3f0c2b1e-8a4d-4c55-9b57-5d1f3f6f0a11#v1';

/** An import whose change ends as `outcomes` say, one after the other; `tries` is how often it makes the version. */
async function imports(outcomes: readonly ('ok' | 'StoreUnavailable')[], tries = 1) {
  const wrappingKeys = new WrappingKeys(new NamedParts(), new SetClock());
  const { id } = unwrap(await wrappingKeys.current('acme', findAlgorithm('x25519+ml-kem-768')!));
  const left = [...outcomes];
  const opened = {
    status: batchStatuses.ok,
    outputs: [Buffer.from('sealed'), Buffer.from('public')],
    elapsedNs: 1,
  };
  const operation = importKeyOperation({
    allowedAlgorithms: new Set(algorithmNames),
    pqPolicy: noPqPolicy,
    wrappingKeys,
    runWork: async () => ok([opened]),
    keyring: {
      async create({ given }: CreateKey) {
        for (let n = 0; n < tries; n++) {
          const made = await given!.make(kid);
          if (!made.ok) return made;
        }
        const outcome = left.shift();
        return outcome === 'ok' ? ok({ kid }) : refuse('StoreUnavailable');
      },
    },
  } as unknown as OperationParts);
  const request = {
    ...{ tenant: undefined, purpose: 'web', alg: 'ed25519', auditDurability: undefined, usages: undefined },
    ...{ material: { wrappingKeyId: id, wrapped: Buffer.from('material') }, name: undefined },
  };
  const codes: string[] = [];
  for (let n = 0; n < outcomes.length; n++) codes.push(codeOf(await operation.run(request as never, caller)));
  return codes;
}

test('material whose change the store did not take may come again, and not once it has', async () => {
  assert.deepEqual(await imports(['StoreUnavailable', 'ok', 'ok']), ['StoreUnavailable', 'ok', 'Conflict']);
});

test('a change that makes its version twice brings the material once', async () => {
  assert.deepEqual(await imports(['ok', 'ok'], 2), ['ok', 'Conflict']);
});

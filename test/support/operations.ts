import assert from 'node:assert/strict';
import { findAlgorithm, registry } from '../../src/algorithms/registry.ts';
import { systemClock } from '../../src/core/clock.ts';
import type { Result } from '../../src/core/result.ts';
import type { Caller } from '../../src/core/scope.ts';
import { createBackends } from '../../src/custody/backends.ts';
import { createCostTable } from '../../src/dispatch/costs.ts';
import { type BatchResult, type BatchStatus, batchStatuses } from '../../src/engine/batch.ts';
import type {
  CryptoOperation,
  CryptoPlan,
  CryptoWork,
  OperationParts,
  WorkOutcome,
} from '../../src/operations/operation.ts';
import { createOperations } from '../../src/operations/operations.ts';
import { WrappingKeys } from '../../src/operations/sealing/wrapping-keys.ts';
import type { TokenParts } from '../../src/operations/tokens.ts';
import type { TrustParts } from '../../src/operations/trust/parts.ts';
import { noPqPolicy } from '../../src/policy/phases.ts';
import { makeKeyring, unwrap } from './keyring.ts';

export const acme: Caller = { tenant: 'acme', actor: 'cap:0123456789abcdef', scopes: new Set() };

/** BLAKE3-256 of "hello world". */
export const payloadBlake3 = 'd74981efa70a0c880b8d8c1985d075dbcbf679b99a5f9914e5aaf96b831a9e24';

/** For tests that make no capabilities. */
export const noTokens = {} as TokenParts;

/** For tests that trust nobody. */
export const noTrust = {} as TrustParts;

/** For tests that have no root key. */
export const noRootKey: OperationParts['rootKey'] = {
  state: () => assert.fail('nobody asks for the root key'),
  sources: () => assert.fail('nobody asks for the root key'),
  rotate: () => assert.fail('nobody rotates the root key'),
  opened: 'nothing',
};

/** Software alone. */
export const alwaysThere = createBackends({
  ...{ homes: [], clock: systemClock, cacheHit: () => {} },
  settings: { ttlMs: 0, refuseStale: false },
});

/** The operations over keys in memory, without engine, log or process. */
export function openOperations(
  t: { after(undo: () => Promise<void>): void },
  more: Partial<OperationParts & { readonly trust: TrustParts }> = {},
) {
  const bench = makeKeyring(t);
  const parts: OperationParts & { readonly tokens: TokenParts; readonly trust: TrustParts } = {
    keyring: bench.keyring,
    custodies: new Map([
      [bench.custody.backend, Object.assign(bench.custody, { attestationClass: 'none' as const })],
    ]),
    backends: alwaysThere,
    costs: createCostTable(registry),
    allowedAlgorithms: new Set(registry.map(({ name }) => name)),
    lacking: new Set(),
    maxKeysPerTenant: 1_000_000,
    rotationOf: () => undefined,
    audit: undefined,
    pqPolicy: noPqPolicy,
    clock: bench.clock,
    timeSkewToleranceMs: 2_000,
    tokens: noTokens,
    trust: noTrust,
    rootKey: noRootKey,
    load: () => assert.fail('nobody asks for the load'),
    mayMake: () => undefined,
    derived: () => {},
    runWork: async () => assert.fail('nobody asks for work'),
    wrappingKeys: new WrappingKeys(bench.custody, bench.clock),
    ...more,
  };
  const makeKey = async (alg: string, tenant = 'acme') => {
    const algorithm = findAlgorithm(alg)!;
    const { kid } = unwrap(await bench.keyring.create({ tenant, actor: 'tester', purpose: 'p', algorithm }));
    return { kid, id: kid.replace('#v1', '') };
  };
  return { ...bench, operations: createOperations(parts), makeKey };
}

/** The plan of a request, and what its operation answers when every item ends with `status`. */
export async function planOf<Request, Answer>(
  operation: CryptoOperation<Request, Answer>,
  request: Request,
  caller: Caller = acme,
) {
  const plan: CryptoPlan<Answer> = unwrap(await operation.plan(request, caller));
  // Of all but those that store what they made.
  const answer = (status: BatchStatus = batchStatuses.ok) =>
    plan.finish(
      plan.works.map((work) => ('code' in work ? { ok: false, failure: work } : done(work, status))),
    ) as Result<Answer>;
  return { plan, work: plan.works[0] as CryptoWork, answer };
}

/** As engines end an item, with an output that names the item. */
function done(work: CryptoWork, status: BatchStatus): WorkOutcome {
  const results: BatchResult[] = work.items.map((_, n) => ({
    status,
    outputs: status === batchStatuses.ok ? [Buffer.from(`output ${n}`)] : [],
    elapsedNs: 1,
  }));
  const receipts = work.uses.map(({ keyId, version }, index) => ({
    kid: `${keyId}#v${version}`,
    index,
    seq: 1,
  }));
  return { ok: true, value: { results, receipts } };
}

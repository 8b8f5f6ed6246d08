import type { Algorithm } from '../../algorithms/descriptor.ts';
import { hasUniformSecret } from '../../algorithms/ids.ts';
import { findAlgorithm } from '../../algorithms/registry.ts';
import { ok, type Refused, type Result, refuse } from '../../core/result.ts';
import type { Caller } from '../../core/scope.ts';
import type { BatchResult } from '../../engine/batch.ts';
import { partName } from '../../engine/key-reference.ts';
import { wordInput } from '../../engine/rooms.ts';
import type { KeyHandle, KeyMade } from '../../keys/keyring.ts';
import { formatId, formatKid } from '../../keys/kid.ts';
import { type DerivationContext, derivationLabel, isDerivationContext, uuidOf } from '../../keys/labels.ts';
import { softwareBackend } from '../../keys/record.ts';
import { addKey, notAllowed, planWork, refusalOfVersion, withKeys } from '../key-work.ts';
import type { CryptoOperation, CryptoPlan, OperationParts } from '../operation.ts';
import { planItem } from './one-key.ts';

export interface DeriveRequest {
  /** Of the key to derive from; without a version the current one. */
  readonly kid: string;
  readonly context: DerivationContext;
  /** Name of the algorithm of the derived key, or an alias of it. */
  readonly alg: string;
}

/** The name of a derived key, which follows from what it is derived from. */
interface Derived {
  readonly parent: KeyHandle;
  readonly algorithm: Algorithm;
  readonly label: string;
  readonly uuid: string;
  /** With its version. */
  readonly kid: string;
}

const badContext = refuse(
  'BadRequest',
  'context: origin and instance are 1 to 128 of A-Z a-z 0-9 . _ ~ -, epoch a whole number below 2^53',
);
const notDerivable = refuse(
  'Unsupported',
  'keys of this alg are not derived: their secret is not plain bytes',
);
const notHere = refuse('Unsupported', 'no key is derived from a key of this backend');

/**
 * HKDF-SHA256 (RFC 5869), empty salt, the label as info: a key of its own, which is no more exported than others are. The same
 * version of the same key, context and algorithm give the same key, on every node and after a restart; it is made once.
 */
export function deriveOperation(parts: OperationParts): CryptoOperation<DeriveRequest, KeyMade> {
  return {
    kind: 'crypto',
    batch: false,
    name: 'derive',
    scope: 'kms:derive',
    subjects: ({ kid }) => [kid],
    async plan(request, caller) {
      if (!isDerivationContext(request.context)) return badContext;
      const algorithm = findAlgorithm(request.alg);
      if (algorithm === undefined) return refuse('Unsupported', 'unknown alg');
      if (!parts.allowedAlgorithms.has(algorithm.name)) return notAllowed;
      if (!isDerivable(algorithm)) return notDerivable;
      const planned = await planDerivation(parts, request, algorithm, caller);
      return planned.ok ? ok(told(parts, request, caller, planned.value)) : planned;
    },
  };
}

/** The same plan, whose success is told. */
function told(
  { derived }: OperationParts,
  { context: { origin } }: DeriveRequest,
  { tenant }: Caller,
  { works, finish }: CryptoPlan<KeyMade>,
): CryptoPlan<KeyMade> {
  return {
    works,
    async finish(outcomes) {
      const made = await finish(outcomes);
      if (made.ok) derived(tenant, origin);
      return made;
    },
  };
}

function isDerivable({ components }: Algorithm): boolean {
  return components.length === 1 && hasUniformSecret(components[0].keyType);
}

async function planDerivation(
  parts: OperationParts,
  request: DeriveRequest,
  algorithm: Algorithm,
  caller: Caller,
): Promise<Result<CryptoPlan<KeyMade>>> {
  const named = await withKeys(parts.keyring, caller, [request.kid], ([found]) =>
    found?.ok === true ? derivedFrom(parts, found.value, request.context, algorithm) : found!,
  );
  if (!named.ok) return named;
  const { kid, parent } = named.value;
  const there = await parts.keyring.find(caller.tenant, kid);
  if (there.ok) return planOfKnown(there.value);
  return there.failure.code === 'NotFound' ? planOfNew(parts, named.value, caller, parent) : there;
}

function derivedFrom(
  parts: OperationParts,
  parent: KeyHandle,
  context: DerivationContext,
  algorithm: Algorithm,
): Result<Derived> {
  const work = planWork('derive');
  const refused = addKey(parts, work, parent) ?? refusalOfVersion(work, parent);
  if (refused !== undefined) return refused;
  const { head, version } = parent;
  if (head.backend !== softwareBackend) return notHere;
  const label = derivationLabel(head.tenant, head.purpose, algorithm.name, context);
  const uuid = uuidOf(version.kid, label);
  const kid = formatKid(formatId(head.tenant, head.purpose, algorithm, uuid), 1);
  return ok({ parent, algorithm, label, uuid, kid });
}

/** It was made before. No secret is used. */
function planOfKnown({ head, algorithm, version }: KeyHandle): Result<CryptoPlan<KeyMade>> {
  if (head.state === 'destroyed') return refuse('Conflict', 'the derived key is destroyed');
  const { kid, createdAtMs, parts } = version;
  const publicKeys = parts.map(({ publicKey }) => publicKey);
  return ok({ works: [], finish: () => ok({ kid, algorithm, createdAtMs, publicKeys, replayed: true }) });
}

function planOfNew(
  parts: OperationParts,
  derived: Derived,
  { tenant, actor }: Caller,
  parent: KeyHandle,
): Result<CryptoPlan<KeyMade>> {
  const { algorithm, label, uuid, kid } = derived;
  const tooMany = parts.mayMake(tenant);
  if (tooMany !== undefined) return tooMany;
  const work = planWork('derive');
  addKey(parts, work, parent);
  const [component] = algorithm.components;
  const info = Buffer.from(label);
  planItem(parts, work, parent.version, {
    inputs: [info, wordInput(component.keyType), Buffer.from(tenant), Buffer.from(partName(kid, 0))],
    pricedBytes: info.length,
    recorded: [info],
  });
  const { purpose } = parent.head;
  const { maxKeysPerTenant } = parts;
  const store = ({ outputs: [sealed, publicKey] }: BatchResult) =>
    parts.keyring.create({
      ...{ tenant, actor, purpose, algorithm, maxKeysPerTenant, uuid },
      given: {
        source: { kind: 'derived', from: parent.version.kid },
        make: async () => ok([{ sealed: sealed as Uint8Array, publicKey: publicKey as Uint8Array }]),
      },
    });
  return ok({
    works: [work],
    async finish([outcome]) {
      if (outcome?.ok !== true) return outcome as Refused;
      return store(outcome.value.results[0] as BatchResult);
    },
  });
}

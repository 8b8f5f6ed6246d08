import { createPublicKey, hash } from 'node:crypto';
import type { Algorithm, Component } from '../../algorithms/descriptor.ts';
import { importSchemes, type Scheme } from '../../algorithms/ids.ts';
import { findAlgorithm, registry } from '../../algorithms/registry.ts';
import { ok, type Result, refuse } from '../../core/result.ts';
import type { Caller } from '../../core/scope.ts';
import type { BatchWork, WorkItem } from '../../dispatch/work.ts';
import { type BatchResult, batchOps, batchStatuses } from '../../engine/batch.ts';
import { partName } from '../../engine/key-reference.ts';
import { wordInput } from '../../engine/rooms.ts';
import type { GivenVersion, KeyMade } from '../../keys/keyring.ts';
import { parseKid } from '../../keys/kid.ts';
import { type KeyPart, softwareBackend } from '../../keys/record.ts';
import { createCostMeter } from '../../queue/cost-meter.ts';
import { meaningOfNewKey, type NewKey, newKeyOf, newKeySubjects } from '../create-key.ts';
import { type ChangeName, changeFacts, operationIdOf } from '../idempotency.ts';
import { notAllowed } from '../key-work.ts';
import type { KeyOperation, OperationParts, Step } from '../operation.ts';
import { refusalOfChange } from '../rotate-key.ts';
import type { WrappingKey } from './wrapping-keys.ts';

/** A key that is brought: its secret, wrapped for us, or its public part alone. */
export type KeyMaterial =
  | { readonly wrappingKeyId: string; readonly wrapped: Uint8Array }
  /** SubjectPublicKeyInfo, DER. */
  | { readonly spki: Uint8Array };

export interface ImportRequest extends NewKey {
  readonly material: KeyMaterial;
  readonly name: ChangeName | undefined;
}

export interface ImportVersionRequest {
  readonly kid: string;
  readonly material: KeyMaterial;
  readonly name: ChangeName | undefined;
}

export interface WrappingKeyRequest {
  /** The algorithm of the wrapping key; X-Wing where it is undefined. */
  readonly alg: string | undefined;
}

export interface WrappingKeyAnswer extends Omit<WrappingKey, 'reference'> {
  /** The info of HPKE; undefined where the algorithm has none. */
  readonly info: string | undefined;
}

const wrappingAlgorithms = registry.filter(({ components }) => importSchemes.has(components[0].keyType));
const preferred = wrappingAlgorithms.find(({ kind }) => kind === 'kem') as Algorithm;

const noWrapping = refuse(
  'Unsupported',
  `wrapping keys are of ${wrappingAlgorithms.map(({ name }) => name).join(' or ')}`,
);

/** A public key to wrap key material with. The same for an hour at most, in which it may wrap several. */
export function wrappingKeyOperation(
  parts: OperationParts,
): KeyOperation<WrappingKeyRequest, WrappingKeyAnswer> {
  return {
    ...{ kind: 'keys', name: 'import_wrapping_key', scope: 'kms:create' },
    subjects: ({ alg }) => ({
      alg: alg === undefined ? preferred.name : (findAlgorithm(alg)?.name ?? 'none'),
    }),
    async run({ alg }, { tenant }) {
      const algorithm = alg === undefined ? preferred : findAlgorithm(alg);
      if (algorithm === undefined || !wrappingAlgorithms.includes(algorithm)) return noWrapping;
      const key = await parts.wrappingKeys.current(tenant, algorithm);
      if (!key.ok) return key;
      const { reference: _, ...shown } = key.value;
      return ok({ ...shown, info: algorithm.kind === 'kem' ? infoOf(tenant, shown.id) : undefined });
    },
  };
}

/** A new key whose first version is brought. */
export function importKeyOperation(parts: OperationParts): KeyOperation<ImportRequest, KeyMade> {
  const meaningOf = (request: ImportRequest) => ({
    ...meaningOfNewKey(request),
    ...meaningOfMaterial(request),
  });
  return {
    ...{ kind: 'keys', name: 'import', scope: 'kms:create', subjects: newKeySubjects },
    facts(request) {
      const alg = findAlgorithm(request.alg)?.name;
      return { purpose: request.purpose, alg, ...changeFacts(request.name, { ...meaningOf(request), alg }) };
    },
    run(request, caller) {
      const wanted = newKeyOf(parts, request, caller);
      if (!wanted.ok) return wanted;
      const given = givenBy(parts, request.material, wanted.value.algorithm, caller);
      if (!given.ok) return given;
      return kept(
        given.value,
        parts.keyring.create({
          ...wanted.value,
          given: given.value,
          ...operationIdOf(request.name, meaningOf(request)),
        }),
      );
    },
  };
}

/** The next version of a key, brought. */
export function importVersionOperation(parts: OperationParts): KeyOperation<ImportVersionRequest, KeyMade> {
  return {
    ...{ kind: 'keys', name: 'import_version', scope: 'kms:rotate' },
    subjects: ({ kid }) => [kid],
    facts: (request) => changeFacts(request.name, meaningOfMaterial(request)),
    async run({ kid, material, name }, caller) {
      const named = parseKid(kid);
      if (named === undefined || named.tenant !== caller.tenant)
        return parts.keyring.rotate({ ...caller, kid });
      const refused = await refusalOfChange(parts, caller, kid);
      if (refused !== undefined) return refused;
      if (!parts.allowedAlgorithms.has(named.algorithm.name)) return notAllowed;
      const given = givenBy(parts, material, named.algorithm, caller);
      if (!given.ok) return given;
      const { tenant, actor } = caller;
      return kept(
        given.value,
        parts.keyring.rotate({
          ...{ tenant, actor, kid, given: given.value },
          ...operationIdOf(name, meaningOfMaterial({ material })),
        }),
      );
    },
  };
}

/** A version that is brought. */
interface Brought extends GivenVersion {
  /** The change did not happen, so the same material may come again. */
  notKept?(): void;
}

async function kept<T>({ notKept }: Brought, change: Step<T>): Promise<Result<T>> {
  const made = await change;
  if (!made.ok) notKept?.();
  return made;
}

/** Members that no other change has, so that an op_id of an import is that of no creation. */
function meaningOfMaterial({ material }: { readonly material: KeyMaterial }) {
  return 'spki' in material
    ? { spki: hash('sha256', material.spki) }
    : { wrapping_key: material.wrappingKeyId.toLowerCase(), material: hash('sha256', material.wrapped) };
}

function givenBy(
  parts: OperationParts,
  material: KeyMaterial,
  algorithm: Algorithm,
  caller: Caller,
): Result<Brought> {
  return 'spki' in material
    ? givenPublic(parts, material.spki, algorithm, caller)
    : givenWrapped(parts, material, algorithm, caller);
}

const severalParts = refuse('Unsupported', 'keys of this alg are not imported: they have several parts');

export function givenWrapped(
  parts: OperationParts,
  { wrappingKeyId, wrapped }: Extract<KeyMaterial, { wrapped: Uint8Array }>,
  { components }: Algorithm,
  { tenant }: Caller,
): Result<Brought> {
  if (components.length > 1) return severalParts;
  const { keyType } = components[0];
  let opened = false;
  const takeBack = () => {
    if (opened) parts.wrappingKeys.takeBack(tenant, wrappingKeyId, wrapped);
  };
  return ok({
    source: { kind: 'imported', publicOnly: false },
    notKept: takeBack,
    async make(kid) {
      // Another node may have come first, and then the same call makes its version again.
      takeBack();
      const made = await parts.wrappingKeys.bring(tenant, wrappingKeyId, wrapped, async (key) => {
        const inputs = [
          ...[wrapped, wordInput(keyType), Buffer.from(tenant), Buffer.from(partName(kid, 0))],
          Buffer.from(infoOf(tenant, key.id)),
        ];
        const ran = await parts.runWork(tenant, unwrapWork(key, inputs));
        return ran.ok ? partsOf(ran.value[0] as BatchResult) : ran;
      });
      opened = made.ok;
      return made;
    },
  });
}

/** First guesses, in microseconds: the private operation of RSA-4096; a check of a public key. */
const importMeter = createCostMeter(5_000);
const checkMeter = createCostMeter(100);

function unwrapWork({ algorithm, reference }: WrappingKey, inputs: readonly Uint8Array[]): BatchWork {
  const item: WorkItem = {
    ...{ op: batchOps.importWrapped, scheme: importSchemes.get(algorithm.components[0].keyType) as Scheme },
    ...{ keyNumber: 0, key: reference, inputs, home: softwareBackend },
  };
  return { kind: 'generate', items: [item], meters: [importMeter] };
}

const doesNotUnwrap = refuse('BadRequest', 'the material does not unwrap with this wrapping key');
const otherType = refuse('BadRequest', 'what was wrapped is not the secret of a key of this alg');

function partsOf({ status, outputs: [sealed, publicKey] }: BatchResult): Result<readonly KeyPart[]> {
  if (status === batchStatuses.rejected) return doesNotUnwrap;
  if (status === batchStatuses.badInput) return otherType;
  if (sealed === undefined || publicKey === undefined) return refuse('Internal');
  return ok([{ sealed: Uint8Array.from(sealed), publicKey: Uint8Array.from(publicKey) }]);
}

/** The info of HPKE (RFC 9180), ASCII. */
export function infoOf(tenant: string, wrappingKeyId: string): string {
  return `ron-kms::${tenant}::import::${wrappingKeyId}`;
}

const notVerifying = refuse('Unsupported', 'public keys alone are imported for verifying signatures only');
const noPublicKey = refuse(
  'BadRequest',
  'this is not SubjectPublicKeyInfo, DER, of a public key of this alg',
);

function givenPublic(
  parts: OperationParts,
  spki: Uint8Array,
  { kind, components }: Algorithm,
  { tenant }: Caller,
): Result<GivenVersion> {
  if (kind !== 'signature') return notVerifying;
  if (components.length > 1) return severalParts;
  const [component] = components;
  const publicKey = publicKeyIn(spki, component);
  if (publicKey === undefined) return noPublicKey;
  return ok({
    source: { kind: 'imported', publicOnly: true },
    // The engine that will use it judges it: a point that is none, or an exponent that is even.
    async make() {
      const ran = await parts.runWork(tenant, checkOf(component, publicKey));
      if (!ran.ok) return ran;
      const { status } = ran.value[0] as BatchResult;
      const usable = status === batchStatuses.ok || status === batchStatuses.rejected;
      return usable ? ok([{ publicKey }]) : noPublicKey;
    },
  });
}

/** The bytes behind the prefix of the algorithm; of RSA all of them, if the modulus has the size that the algorithm says. */
function publicKeyIn(spki: Uint8Array, { spkiPrefix, schemes: [scheme] }: Component): Uint8Array | undefined {
  if (spkiPrefix === undefined) return undefined;
  if (!Buffer.from(spki.subarray(0, spkiPrefix.length)).equals(spkiPrefix)) return undefined;
  if (spkiPrefix.length === 0 && modulusBytesOf(spki) !== scheme.maxOutputBytes) return undefined;
  return Uint8Array.from(spki.subarray(spkiPrefix.length));
}

function modulusBytesOf(spki: Uint8Array): number {
  try {
    const key = createPublicKey({ key: Buffer.from(spki), format: 'der', type: 'spki' });
    return (key.asymmetricKeyDetails?.modulusLength ?? 0) / 8;
  } catch {
    return 0;
  }
}

/** A signature of zeros, which is never valid. */
function checkOf({ schemes: [scheme] }: Component, publicKey: Uint8Array): BatchWork {
  const inputs = [Buffer.alloc(0), Buffer.alloc(scheme.maxOutputBytes)];
  const item: WorkItem = {
    ...{ op: batchOps.verify, scheme: scheme.scheme, keyNumber: 0, key: publicKey, inputs },
    home: softwareBackend,
  };
  return { kind: 'verify', items: [item], meters: [checkMeter] };
}

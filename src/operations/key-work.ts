import type { SchemeEntry } from '../algorithms/descriptor.ts';
import { type GivenInput, pricedAs } from '../algorithms/signed-input.ts';
import { permitsUse, usagesOf, type WorkKind, workKinds } from '../algorithms/work-kinds.ts';
import { ok, type Refused, type Result, refuse, refuseByState } from '../core/result.ts';
import type { Caller } from '../core/scope.ts';
import type { SignedEvidence } from '../custody/key-evidence.ts';
import type { StandIn, WorkItem } from '../dispatch/work.ts';
import { type BatchOp, batchOps } from '../engine/batch.ts';
import type { KeyHandle, Keyring, LoadedPart } from '../keys/keyring.ts';
import { isPublicOnly, softwareBackend } from '../keys/record.ts';
import type { CostMeter } from '../queue/cost-meter.ts';
import { type CryptoWork, type KeyUse, type OperationParts, type Step, useOf } from './operation.ts';

interface AskedOfKeys {
  readonly op: BatchOp;
  /** For keys of another family. */
  readonly otherKey: Refused;
  /** For versions that are not current, where only the current one does it. */
  readonly notCurrent?: Refused;
}

const keyMakesNoTags = refuse('Unsupported', 'this key makes no tags');
const keyDoesNotEncrypt = refuse('Unsupported', 'this key does not encrypt');
const keyDoesNotWrap = refuse('Unsupported', 'this key does not wrap');
const onlyCurrentWraps = refuseByState('inactive', 'only the current version wraps');

/** The kinds of work that operations plan: how an engine is asked, and what callers hear of keys that do not do it. */
const askedOfKeys = {
  sign: {
    op: batchOps.sign,
    otherKey: refuse('Unsupported', 'this key does not sign'),
    notCurrent: refuseByState('inactive', 'only the current version signs'),
  },
  verify: { op: batchOps.verify, otherKey: refuse('Unsupported', 'this key verifies no signatures') },
  mac: {
    op: batchOps.mac,
    otherKey: keyMakesNoTags,
    notCurrent: refuseByState('inactive', 'only the current version makes tags'),
  },
  verify_mac: { op: batchOps.verifyMac, otherKey: keyMakesNoTags },
  encrypt: {
    op: batchOps.encrypt,
    otherKey: keyDoesNotEncrypt,
    notCurrent: refuseByState('inactive', 'only the current version encrypts'),
  },
  decrypt: { op: batchOps.decrypt, otherKey: keyDoesNotEncrypt },
  reencrypt: { op: batchOps.reencrypt, otherKey: keyDoesNotEncrypt },
  encrypt_under: { op: batchOps.encryptUnder, otherKey: keyDoesNotEncrypt },
  decrypt_under: { op: batchOps.decryptUnder, otherKey: keyDoesNotEncrypt },
  wrap: { op: batchOps.wrap, otherKey: keyDoesNotWrap, notCurrent: onlyCurrentWraps },
  encapsulate: { op: batchOps.wrap, otherKey: keyDoesNotWrap, notCurrent: onlyCurrentWraps },
  unwrap: { op: batchOps.unwrap, otherKey: keyDoesNotWrap },
  decapsulate: { op: batchOps.unwrap, otherKey: keyDoesNotWrap },
  rewrap: { op: batchOps.rewrap, otherKey: keyDoesNotWrap },
  seal: { op: batchOps.wrap, otherKey: keyDoesNotWrap, notCurrent: onlyCurrentWraps },
  unseal: { op: batchOps.unwrap, otherKey: keyDoesNotWrap },
  derive: { op: batchOps.derive, otherKey: refuse('Unsupported', 'no key is derived from this one') },
} as const satisfies Partial<Readonly<Record<WorkKind, AskedOfKeys>>>;

export type PlannedKind = keyof typeof askedOfKeys;

/** The work of one request while it is put together; the request path sees it as CryptoWork. */
export interface PlannedWork extends CryptoWork {
  alg: string;
  readonly kind: PlannedKind;
  readonly items: WorkItem[];
  readonly meters: CostMeter[];
  readonly uses: KeyUse[];
  inputDigest: string;
  opId: string | undefined;
  receipts: boolean;
  verdict: CryptoWork['verdict'];
  refusal: CryptoWork['refusal'];
  encryption: CryptoWork['encryption'];
  about: CryptoWork['about'];
  daily: CryptoWork['daily'];
}

export function planWork(kind: PlannedKind): PlannedWork {
  return {
    alg: '',
    kind,
    items: [],
    meters: [],
    uses: [],
    inputDigest: '',
    opId: undefined,
    receipts: false,
    verdict: undefined,
    refusal: undefined,
    encryption: undefined,
    about: undefined,
    daily: undefined,
    counted: undefined,
  };
}

/** Plans with the keys that these kids name, in their order: at once where all of them are in memory. A key that is not for the caller is refused. */
export function withKeys<Plan>(
  keyring: Pick<Keyring, 'find'>,
  caller: Caller,
  kids: readonly string[],
  plan: (found: readonly Result<KeyHandle>[]) => Step<Plan>,
): Step<Plan> {
  const found = kids.map((kid) => {
    const one = keyring.find(caller.tenant, kid);
    return one instanceof Promise ? one.then((later) => forCaller(later, caller)) : forCaller(one, caller);
  });
  return found.some((handle) => handle instanceof Promise)
    ? Promise.all(found).then(plan)
    : plan(found as Result<KeyHandle>[]);
}

/** Keys with a placement are for callers that have one; the operations on such keys judge which. */
export function forCaller(found: Result<KeyHandle>, { placement }: Caller): Result<KeyHandle> {
  const isPlaced = found.ok && found.value.head.placement !== undefined;
  return isPlaced && placement === undefined ? otherPlacement : found;
}

const otherPlacement = refuse('NoCapability', 'the key is for callers of its environment and plane');

type KeyParts = Pick<OperationParts, 'allowedAlgorithms' | 'backends' | 'evidence'>;

/** A key of the request takes part. Refused where it is of another family, or its algorithm is not allowed here. */
export function addKey(
  { allowedAlgorithms, backends, evidence }: KeyParts,
  work: PlannedWork,
  handle: KeyHandle,
): Refused | undefined {
  const { kind, name } = handle.algorithm;
  const usages: readonly WorkKind[] = usagesOf[kind];
  if (!usages.includes(work.kind)) return askedOfKeys[work.kind].otherKey;
  if (!allowedAlgorithms.has(name)) return notAllowed;
  if (!permitsUse(handle.head.usages, work.kind)) return notAmongUsages;
  if (workKinds[work.kind].usesSecret) {
    if (isPublicOnly(handle.version.source)) return onlyPublic;
    const { backend } = handle.head;
    // At once: a call that waits for a backend which is away takes a place from others.
    const away = backend === softwareBackend ? undefined : backends.refusal(backend);
    if (away !== undefined && standInsOf(backends, work.kind, handle).length === 0) return away;
  }
  work.alg = work.alg === '' ? name : 'several';
  const acting = workKinds[work.kind].usesSecret ? actingAs({ backends }, work.kind, handle) : handle;
  // Of several stand-ins nobody knows yet which one signs.
  const known = acting === handle || needsEvidence({ evidence }, handle);
  const use = useOf(acting, workKinds[work.kind].usesSecret && known ? evidence : undefined);
  // A key that is named twice makes two things, and checks two with one use.
  if (workKinds[work.kind].currentOnly || !work.uses.some((other) => sameKey(use, other)))
    work.uses.push(use);
  return undefined;
}

const keepsNoKeys = refuse('AttestationMissing', 'this service keeps no audit log, whose keys sign evidence');

/** The evidence that answers of signing with these keys bring; a refusal where a key may not sign without. At once where it is kept. */
export function evidenceOf(
  { evidence, backends }: Pick<OperationParts, 'evidence' | 'backends'>,
  handles: readonly KeyHandle[],
): Step<readonly SignedEvidence[]> {
  const needing = handles
    .filter((handle) => needsEvidence({ evidence }, handle))
    .map((handle) => actingAs({ backends }, 'sign', handle));
  if (needing.length === 0) return none;
  const found = needing.map((handle) => evidence?.attestor.evidence(handle) ?? keepsNoKeys);
  const judge = (given: readonly Result<SignedEvidence>[]): Result<readonly SignedEvidence[]> => {
    const told = new Map<string, SignedEvidence>();
    for (const [index, one] of given.entries()) {
      const handle = needing[index] as KeyHandle;
      const { attest } = handle.head.policy ?? {};
      if (!one.ok && (attest === 'require' || evidence?.required === true)) return one;
      if (one.ok && attest !== undefined) told.set(handle.version.kid, one.value);
    }
    return ok([...told.values()]);
  };
  return found.some((one) => one instanceof Promise)
    ? Promise.all(found).then(judge)
    : judge(found as Result<SignedEvidence>[]);
}

const none = ok<readonly SignedEvidence[]>([]);

/** The backends that may sign in the place of one that is away. No others but signatures, and only where the key's policy says so. */
function standInsOf(
  backends: OperationParts['backends'],
  kind: PlannedKind,
  { head: { backend, policy } }: KeyHandle,
): readonly string[] {
  return kind === 'sign' && policy?.allowSignFallback === true ? backends.standIns(backend) : [];
}

function needsEvidence(
  { evidence }: Pick<OperationParts, 'evidence'>,
  { head: { policy } }: KeyHandle,
): boolean {
  return evidence?.required === true || policy?.attest !== undefined;
}

/** The key as the backend has it that is to sign now: evidence of another one would say nothing of this signature. */
function actingAs(
  { backends }: Pick<OperationParts, 'backends'>,
  kind: PlannedKind,
  handle: KeyHandle,
): KeyHandle {
  const { backend } = handle.head;
  if (backend === softwareBackend || backends.refusal(backend) === undefined) return handle;
  const [standIn] = standInsOf(backends, kind, handle);
  return standIn === undefined ? handle : { ...handle, head: { ...handle.head, backend: standIn } };
}

/** For a part of a key whose backend is away. One with evidence has one stand-in: that which the evidence is of. */
export function standInFor(
  { backends, evidence }: Pick<OperationParts, 'backends' | 'evidence'>,
  work: PlannedWork,
  handle: KeyHandle,
  { publicKey }: LoadedPart,
): StandIn | undefined {
  const { backend } = handle.head;
  if (backend === softwareBackend || backends.refusal(backend) === undefined) return undefined;
  const all = standInsOf(backends, work.kind, handle);
  const homes = needsEvidence({ evidence }, handle) ? all.slice(0, 1) : all;
  return homes.length === 0 ? undefined : { homes, publicKey, signedIn: undefined };
}

const onlyPublic = refuse('Unsupported', 'only the public part of this key is here');
const notAmongUsages = refuse('PolicyViolation', 'the usages of this key do not include this');
export const notAllowed = refuse('PolicyViolation', 'this algorithm is not allowed here');

function sameKey(one: KeyUse, other: KeyUse): boolean {
  return one.keyId === other.keyId && one.version === other.version;
}

/** Destroyed, or an old version where only the current one does it. */
export function refusalOfVersion({ kind }: PlannedWork, handle: KeyHandle): Refused | undefined {
  const asked: AskedOfKeys = askedOfKeys[kind];
  const { state } = workKinds[kind].currentOnly ? handle.head : handle.version;
  if (state === 'destroyed') return destroyed;
  return handle.current ? undefined : asked.notCurrent;
}

const destroyed = refuseByState('destroyed', 'the key is destroyed');

/** An item that is not as most of its kind. */
interface UnusualItem {
  /** Another way to ask an engine. */
  readonly op?: BatchOp;
  /** The bytes that it is priced by, where they are not those of its first input. */
  readonly pricedBytes?: number;
  readonly standIn?: StandIn | undefined;
}

/** One item by a part of a key: its place in the work. The message is mostly the first of its inputs. */
export function addItem(
  { costs }: Pick<OperationParts, 'costs'>,
  work: PlannedWork,
  part: LoadedPart,
  scheme: SchemeEntry,
  inputs: readonly [message: Uint8Array, ...others: Uint8Array[]],
  { op, pricedBytes = inputs[0].length, standIn }: UnusualItem = usualItem,
): number {
  const { kind, items } = work;
  const { usesSecret } = workKinds[kind];
  // Public keys are anybody's: work that needs no others is done by our engine, and goes on if a home is gone.
  const home = usesSecret ? part.home : softwareBackend;
  items.push({
    op: op ?? askedOfKeys[kind].op,
    scheme: scheme.scheme,
    keyNumber: part.keyNumber,
    key: usesSecret ? part.keyReference : part.publicKey,
    inputs,
    home,
    standIn,
  });
  work.meters.push(costs.meterOf(scheme, kind, pricedBytes, home));
  return items.length - 1;
}

/** The same for an input in another form than the usual one, and for its signature where one is checked. */
export function addGiven(
  parts: Pick<OperationParts, 'costs'>,
  work: PlannedWork,
  part: LoadedPart,
  scheme: SchemeEntry,
  given: GivenInput,
  signature?: Uint8Array,
  standIn?: StandIn,
): number {
  const { bytes, context, form } = given;
  const others = signature === undefined ? [] : [signature];
  if (context !== undefined) others.push(context);
  const ops = signature === undefined ? signOps : verifyOps;
  return addItem(parts, work, part, pricedAs(scheme, given), [bytes, ...others], { op: ops[form], standIn });
}

const signOps = { message: batchOps.sign, digest: batchOps.signDigest, mu: batchOps.signMu } as const;
const verifyOps = { message: batchOps.verify, digest: batchOps.verifyDigest, mu: batchOps.verifyMu } as const;
const usualItem: UnusualItem = {};

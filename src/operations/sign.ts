import type { SchemeEntry } from '../algorithms/descriptor.ts';
import type { Ability } from '../algorithms/ids.ts';
import {
  bytesOf,
  type GivenInput,
  givenOf,
  inputDigestOf,
  payloadB3Of,
  refusalOfEngine,
  refusalOfInput,
  type SignedInput,
  takes,
  unsuitedKey,
} from '../algorithms/signed-input.ts';
import { ok, type Result, refuse } from '../core/result.ts';
import type { Caller } from '../core/scope.ts';
import type { SignedEvidence } from '../custody/key-evidence.ts';
import type { BatchResult } from '../engine/batch.ts';
import type { KeyHandle } from '../keys/keyring.ts';
import { softwareBackend } from '../keys/record.ts';
import { refuseByPqPolicy } from '../policy/bundle.ts';
import type { HybridMode } from '../policy/hybrid.ts';
import { type BundleSignature, refusalOfSigning, signsUnasked } from '../policy/migration.ts';
import {
  addGiven,
  addItem,
  addKey,
  evidenceOf,
  type PlannedWork,
  planWork,
  refusalOfVersion,
  standInFor,
  withKeys,
} from './key-work.ts';
import {
  type CryptoOperation,
  type OperationParts,
  type Particulars,
  type Step,
  singlePlan,
  type UseReceipt,
  type WorkOutcome,
} from './operation.ts';

export interface SignRequest {
  /** Keys that sign the payload together, at least one. */
  readonly kids: readonly string[];
  readonly input: SignedInput;
  /** The key's own algorithm, or one of its schemes; the key's first scheme that takes the input when not given. */
  readonly alg: string | undefined;
  readonly mode: HybridMode | undefined;
  /** The client's own name for the call. */
  readonly opId: string | undefined;
  readonly receipts: boolean;
}

export interface SignAnswer {
  /** Of the first signature. */
  readonly kid: string;
  readonly signatures: readonly MadeSignature[];
  /** Only where they were asked for. */
  readonly receipts: readonly UseReceipt[] | undefined;
  /** Of each key whose policy asks for it. */
  readonly evidence: readonly SignedEvidence[];
}

export interface MadeSignature extends Signer {
  /** A view of the workers' response, not a copy. */
  readonly signature: Uint8Array;
  /** The backend that signed in the place of the key's own, which is away. */
  readonly signedIn: string | undefined;
}

interface Signer {
  readonly kid: string;
  /** Name of the signature scheme. */
  readonly alg: string;
}

/** A backend that went or came back while the evidence was fetched. */
function isOfSigners(
  evidence: readonly SignedEvidence[],
  { items }: PlannedWork,
  signatures: readonly MadeSignature[],
): boolean {
  return signatures.every(({ kid, signedIn }, index) => {
    const own = evidence.find((one) => one.kid === kid);
    return own === undefined || own.backend === (signedIn ?? items[index]?.home);
  });
}

const changedHands = refuse(
  'StoreUnavailable',
  'the backend that signed is not the one that the evidence is of: try again',
  1_000,
);

/** The work of one sign request, and who signs at which place of it. */
export interface SignPlan {
  readonly work: PlannedWork;
  readonly signers: readonly Signer[];
  readonly evidence: readonly SignedEvidence[];
}

/** Signs with the current version of one key or of several. */
export function signOperation(parts: OperationParts): CryptoOperation<SignRequest, SignAnswer> {
  return {
    kind: 'crypto',
    batch: false,
    name: 'sign',
    scope: 'kms:sign',
    subjects: signSubjects,
    facts: signFacts,
    plan: (request, caller) => singlePlan(planSign(parts, request, caller), finishSign),
  };
}

export function signSubjects({ kids }: SignRequest): readonly string[] {
  return kids;
}

export function signFacts({ input, opId }: SignRequest): Particulars {
  return { payloadB3: payloadB3Of(input), opId };
}

export function planSign(parts: OperationParts, request: SignRequest, caller: Caller): Step<SignPlan> {
  const { input, kids } = request;
  const refused = refusalOfInput(input, kids);
  if (refused !== undefined) return refused;
  if (kids.length > 1 && givenOf(input)?.form === 'mu') return severalKeysForMu;
  return withKeys(parts.keyring, caller, kids, (found) => planAttested(parts, request, found));
}

/** Evidence comes first: the records of the uses name it. */
function planAttested(
  parts: OperationParts,
  request: SignRequest,
  handles: readonly Result<KeyHandle>[],
): Step<SignPlan> {
  const evidence = evidenceOf(
    parts,
    handles.flatMap((found) => (found.ok ? [found.value] : [])),
  );
  const goOn = (given: Awaited<typeof evidence>): Result<SignPlan> =>
    given.ok ? planWith(parts, request, handles, given.value) : given;
  return evidence instanceof Promise ? evidence.then(goOn) : goOn(evidence);
}

const severalKeysForMu = refuse('BadRequest', 'a mu is of one public key');

function planWith(
  parts: OperationParts,
  { input, alg, mode, opId, receipts }: SignRequest,
  handles: readonly Result<KeyHandle>[],
  evidence: SignPlan['evidence'],
): Result<SignPlan> {
  const given = givenOf(input);
  const bytes = bytesOf(input);
  const work = planWork('sign');
  work.inputDigest = inputDigestOf(input);
  work.opId = opId;
  work.receipts = receipts;
  const signers: Signer[] = [];
  const signed: BundleSignature[] = [];
  for (const found of handles) {
    if (!found.ok) return found;
    const handle = found.value;
    const refused = addKey(parts, work, handle) ?? refusalOfVersion(work, handle);
    if (refused !== undefined) return refused;
    const before = signers.length;
    for (const part of handle.version.parts) {
      if (mode === 'pq_only' && !part.component.postQuantum) continue;
      if (mode === undefined && alg === undefined && !signsUnasked(parts, handle, part.component)) continue;
      const { schemes } = part.component;
      const scheme = schemeFor(handle, schemes, alg, given);
      if (scheme === undefined) continue;
      // Half of a hybrid signature must not pass for a whole one, so that each part has to take what is given.
      if (given !== undefined && !takes(scheme, given)) return unsuitedKey(given, scheme);
      const lacks = refusalOfEngine(lackingOf(parts, part.home), scheme, given);
      if (lacks !== undefined) return lacks;
      const standIn = standInFor(parts, work, handle, part);
      if (given !== undefined) addGiven(parts, work, part, scheme, given, undefined, standIn);
      else if (standIn === undefined) addItem(parts, work, part, scheme, [bytes]);
      else addItem(parts, work, part, scheme, [bytes], { standIn });
      signers.push({ kid: handle.version.kid, alg: scheme.alg });
      signed.push({ handle, component: part.component });
    }
    if (signers.length === before) {
      return mode === 'pq_only'
        ? noPostQuantum
        : refuse('Unsupported', 'the key does not sign with this alg');
    }
  }
  return refusalOfSigning(parts, signed, mode) ?? ok({ work, signers, evidence });
}

const nothingLacks: ReadonlySet<Ability> = new Set();

function lackingOf({ lacking, custodies }: OperationParts, home: string): ReadonlySet<Ability> {
  return home === softwareBackend ? lacking : (custodies.get(home)?.lacks ?? nothingLacks);
}

const noPostQuantum = refuseByPqPolicy('no post-quantum signature can be made with this key');

/** The scheme that `alg` names; without it, or where it is the key's own algorithm, the first that takes what is given. */
function schemeFor(
  handle: KeyHandle,
  schemes: readonly [SchemeEntry, ...SchemeEntry[]],
  alg: string | undefined,
  given: GivenInput | undefined,
): SchemeEntry | undefined {
  if (alg !== undefined) {
    for (const scheme of schemes) if (scheme.alg === alg) return scheme;
    if (alg !== handle.algorithm.name && !handle.algorithm.aliases.includes(alg)) return undefined;
  }
  if (given !== undefined) for (const scheme of schemes) if (takes(scheme, given)) return scheme;
  return schemes[0];
}

export function finishSign({ work, signers, evidence }: SignPlan, outcome: WorkOutcome): Result<SignAnswer> {
  if (!outcome.ok) return outcome;
  const { results, receipts } = outcome.value;
  const signatures = signers.map(({ kid, alg }, index) => {
    const [signature] = (results[index] as BatchResult).outputs as [Uint8Array];
    return { kid, alg, signature, signedIn: work.items[index]?.standIn?.signedIn };
  });
  if (evidence.length > 0 && !isOfSigners(evidence, work, signatures)) return changedHands;
  const { kid } = signers[0] as Signer;
  return ok({ kid, signatures, receipts: work.receipts ? receipts : undefined, evidence });
}

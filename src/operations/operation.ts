import type { LimitedWork } from '../admission/key-uses.ts';
import type { Ability } from '../algorithms/ids.ts';
import type { WorkKind } from '../algorithms/work-kinds.ts';
import type { AuditEvent } from '../audit/audit-log.ts';
import type { AuditParts } from '../audit/service/parts.ts';
import type { Credentials } from '../auth/auth.ts';
import type { Clock } from '../core/clock.ts';
import type { Failure } from '../core/failure.ts';
import { ok, type Refused, type Result } from '../core/result.ts';
import type { Caller, CallFacts, Scope } from '../core/scope.ts';
import type { Backends } from '../custody/backends.ts';
import type { Custodies } from '../custody/custody.ts';
import type { EvidenceSource, SignedEvidence } from '../custody/key-evidence.ts';
import type { RootKeyView } from '../custody/root-key-view.ts';
import type { CostTable } from '../dispatch/costs.ts';
import type { BatchWork, WorkItem } from '../dispatch/work.ts';
import type { BatchResult } from '../engine/batch.ts';
import type { KeyHandle, Keyring } from '../keys/keyring.ts';
import type { AuditDurability } from '../keys/record.ts';
import type { LoadReport } from '../observe/load.ts';
import type { TracedRequest } from '../observe/tracing.ts';
import type { Consultation } from '../policy/consult.ts';
import type { PqPolicy } from '../policy/phases.ts';
import type { CostMeter } from '../queue/cost-meter.ts';
import type { LifecycleParts } from './lifecycle/parts.ts';
import type { WrappingKeys } from './sealing/wrapping-keys.ts';

/** The parts of the service that operations work with. */
export interface OperationParts {
  readonly keyring: Keyring;
  readonly custodies: Custodies;
  readonly backends: Backends;
  readonly costs: CostTable;
  /** Canonical names of the algorithms that may be created and used. */
  readonly allowedAlgorithms: ReadonlySet<string>;
  readonly maxKeysPerTenant: number;
  /** The schedule of new keys of this algorithm, where they have none of their own. */
  rotationOf(algorithm: string): { readonly afterDays: number } | undefined;
  /** What the engine cannot do; such calls are refused before they are queued. */
  readonly lacking: ReadonlySet<Ability>;
  readonly audit: AuditParts | undefined;
  /** Absent where no log is kept, whose keys sign evidence. */
  readonly evidence?: EvidenceParts | undefined;
  readonly pqPolicy: PqPolicy;
  readonly clock: Pick<Clock, 'utcMs'>;
  /** How far other clocks may differ, where times of a request are checked. */
  readonly timeSkewToleranceMs: number;
  /** Counts a key that is made for a call of another scope among those that the tenant may make. */
  readonly mayMake: (tenant: string) => Refused | undefined;
  /** Work of the service's own on behalf of a tenant, in its turn. */
  readonly runWork: (tenant: string, work: BatchWork) => Promise<Result<readonly BatchResult[]>>;
  readonly wrappingKeys: WrappingKeys;
  /** Told of each derivation, for metrics. */
  readonly derived: (tenant: string, origin: string) => void;
  readonly rootKey: RootKeyView;
  /** Absent: what usually holds for keys with a placement. */
  readonly lifecycle?: LifecycleParts | undefined;
  /** The load report: of all tenants, or of one. */
  readonly load: (onlyTenant?: string) => LoadReport;
}

export interface EvidenceParts {
  readonly attestor: EvidenceSource;
  /** Of keys whose own policy does not say so: a signature needs evidence. */
  readonly required: boolean;
}

/** Crypto work that stays together in one job. */
export interface CryptoWork extends LimitedWork {
  /** The key's algorithm, for metrics. */
  readonly alg: string;
  readonly kind: WorkKind;
  readonly items: readonly WorkItem[];
  /** One per item. */
  readonly meters: readonly CostMeter[];
  /** The keys that it uses, for their usage limits and for the audit log. */
  readonly uses: readonly KeyUse[];
  /**
   * For the audit log: the payload's BLAKE3 digest in hex; or the name of what was given or of a message's digest (`sha256`,
   * `sha384`, `sha512`, `mu`), a colon, and its hex. Empty where the input is a secret: a digest of few possible plaintexts tells
   * which one it was.
   */
  readonly inputDigest: string;
  /** The client's own name for the call. */
  readonly opId: string | undefined;
  /** True if the answer shows its receipts, so that they need all that they may have. */
  readonly receipts: boolean;
  /** The word in the record of a use, where there are results; without it that the key was used. */
  readonly verdict?: ((use: KeyUse, results: readonly BatchResult[]) => Verdict) | undefined;
  /**
   * The reason why these results are no answer: what was to be opened does not open, which is BadRequest. Asked once, before the
   * record, so that the record says it too.
   */
  readonly refusal?: ((results: readonly BatchResult[]) => Refused | undefined) | undefined;
  /** Further facts for the records of its uses, which then have a type of their own. */
  readonly about?: Required<Pick<AuditEvent, 'type' | 'data'>> | undefined;
  /** Where the call is to have a receipt: set by the request path, and filled in by the recorder. */
  readonly receipt?: ReceiptDraft;
}

/** Facts of a call for its receipt, which its record in the audit log keeps. */
export interface ReceiptFacts {
  /** Of the key, or as the request says. */
  readonly environment?: string | undefined;
  readonly plane?: string | undefined;
  /** The UUID of the version of a key; of the trust anchor, certificate or webhook where it is about one of these. */
  readonly keyId?: string | undefined;
  /** The algorithm's canonical name, where no use of a key says it. */
  readonly alg?: string | undefined;
}

/** The facts that the records of a work are to keep, and the record that is the call's receipt once it is written. */
export interface ReceiptDraft {
  readonly data: Readonly<Record<string, string>>;
  /** Of the record, see recordUuid. */
  receiptId: string | undefined;
}

/** Makes the records of calls that are to have receipts. */
export interface CallReceipts {
  /** The facts of a call, as its record keeps them. */
  data(facts: ReceiptFacts, caller: Caller): Readonly<Record<string, string>>;
  /** A call that used no key. The id of its receipt; undefined where it has none: too many are refused, or the log takes no records. */
  record(
    operation: string,
    caller: Caller,
    facts: ReceiptFacts,
    failure: Failure | undefined,
  ): Promise<string | undefined>;
}

/** Of a verification, by one key: its signatures are valid, are not, or could not be checked. */
export type Verdict = 'ok' | 'invalid' | 'error:Internal';

export interface KeyUse {
  readonly keyId: string;
  readonly version: number;
  readonly alg: string;
  /** The answer waits for this of its record, where it is more than usual. */
  readonly durability: AuditDurability | undefined;
  /** Evidence of the key's residence that held when it was used. */
  readonly evidence?: Pick<SignedEvidence, 'class' | 'sha256'>;
}

export function useOf(handle: KeyHandle, evidence?: EvidenceParts): KeyUse {
  const { head, version, algorithm } = handle;
  const { id: keyId, auditDurability: durability } = head;
  const use = { keyId, version: version.version, alg: algorithm.name, durability };
  const kept = evidence?.attestor.kept(handle);
  return kept === undefined ? use : { ...use, evidence: kept };
}

/** The place in the audit log of the record by which the use of a key can be proved. */
export interface UseReceipt {
  readonly kid: string;
  /** Position in the log. */
  readonly index: number;
  /** Sequence number among the key's records. */
  readonly seq: number;
  /** 16 bytes that open the record's `input_hash`, where it is a commitment and the answer shows receipts. */
  readonly salt?: Uint8Array;
}

/** The end of one work. */
export type WorkOutcome = Result<{
  readonly results: readonly BatchResult[];
  /** One for each of the work's uses; empty where nothing is recorded. */
  readonly receipts: readonly UseReceipt[];
}>;

/** The works that an operation needs done, and the making of its answer from their results. */
export interface CryptoPlan<Answer> {
  /** One for each item of the call; a failure is that item's own and does not stop the others. */
  readonly works: readonly (CryptoWork | Failure)[];
  /** The kids that each item of a batch names: for the records of those that are refused. */
  readonly subjects?: readonly (readonly string[])[];
  /** `outcomes` has one entry for each of `works`. A promise where what was made has to be durable first. */
  finish(outcomes: readonly WorkOutcome[]): Step<Answer>;
}

export type Step<T> = Result<T> | Promise<Result<T>>;

/** The subjects of a refused call, for its record: the kids as they were given, or, where it names no key, its algorithm. */
export type Subjects = readonly string[] | NoKey;

export interface NoKey {
  /** As in records: the canonical name, or `none`. */
  readonly alg: string;
  /** Of the key that is to be made. */
  readonly purpose?: string;
}

export interface Described {
  readonly kind: 'crypto' | 'keys';
  /** As in metrics, logs and the audit log. */
  readonly name: string;
  /** The scope that it needs, and whose rates it is counted in. */
  readonly scope: Scope;
}

/** An operation whose every call has a receipt, whatever becomes of it. */
interface Receipted<Request, Answer> {
  /**
   * Facts of a call for its receipt: asked before keys are used, and once more with the answer, of a call that used none. Absent:
   * its calls have no receipts. `request` is undefined where it could not be read.
   */
  receipt?(request: Request | undefined, caller: Caller, answer: Answer | undefined): ReceiptFacts;
}

interface Asked<Request> extends Described {
  /**
   * Members for the request, of what the caller named in another way: found before anything is judged, so that capabilities and
   * policy are asked about kids. What is not found stays away. Without a promise where it is in memory.
   */
  resolve?(request: Request, caller: Caller): ResolvedKey | Promise<ResolvedKey>;
  /** Absent where a call names neither a key nor an algorithm. */
  subjects?(request: Request): Subjects;
  /** Further facts for capabilities that ask about them. */
  facts?(request: Request): Particulars;
  /** Where the scopes that are needed are several, or depend on the request. */
  readonly scopes?: SeveralScopes<Request>;
}

export interface ResolvedKey {
  /** With its version. */
  readonly kid?: string;
}

export interface SeveralScopes<Request> {
  /** Without any of these no request is read. */
  readonly oneOf: readonly Scope[];
  /** All that this request needs. */
  of(request: Request): readonly Scope[];
}

/** Facts of a call, besides its operation and the kids of its subjects. */
export type Particulars = Partial<CallFacts>;

/** The facts of a call for a capability that asks about them, which most do not. */
export function factsOf<Request>(operation: Asked<Request>, request: Request): CallFacts {
  const subjects = subjectsOf(operation, request);
  const kids = 'alg' in subjects ? [] : subjects;
  return { operation: operation.name, kids, changes: false, ...operation.facts?.(request) };
}

/** Uses keys: planned here, queued and run by the request path. */
export interface CryptoOperation<Request, Answer> extends Asked<Request>, Receipted<Request, Answer> {
  readonly kind: 'crypto';
  /** True if one request may hold many calls; it then has longer by default. */
  readonly batch: boolean;
  /** `ruled`: what policy says of these keys, where there is one. */
  plan(request: Request, caller: Caller, ruled?: Consultation): Step<CryptoPlan<Answer>>;
}

/** Reads or changes keys. */
export interface KeyOperation<Request, Answer> extends Asked<Request>, Receipted<Request, Answer> {
  readonly kind: 'keys';
  run(request: Request, caller: Caller): Step<Answer>;
}

/** Gives somebody who has no capability yet a first one; so it has neither a scope nor a caller. */
export interface EntryOperation<Request, Answer> {
  readonly kind: 'entry';
  readonly name: string;
  run(request: Request, credentials: Credentials): Promise<Result<Answer>>;
}

/** One thing that can be asked. No wire format has a part in its types: dialects make the requests and present the answers. */
export type Operation<Request, Answer> = CryptoOperation<Request, Answer> | KeyOperation<Request, Answer>;

export function subjectsOf<Request>(operation: Asked<Request>, request: Request): Subjects {
  return operation.subjects?.(request) ?? noKey;
}

const noKey: NoKey = { alg: 'none' };

/** The plan of a request that is one work: its outcome becomes the whole answer. */
export function singlePlan<Plan extends { readonly work: CryptoWork }, Answer>(
  planned: Step<Plan>,
  finish: (plan: Plan, outcome: WorkOutcome) => Result<Answer>,
): Step<CryptoPlan<Answer>> {
  if (planned instanceof Promise) return planned.then((plan) => singlePlan(plan, finish));
  if (!planned.ok) return planned;
  return ok({
    works: [planned.value.work],
    finish: (outcomes) => finish(planned.value, outcomes[0] as WorkOutcome),
  });
}

/** The parts of a call's way write here what they learn of it, for its line in the log: they only store. */
export interface CallNotes extends TracedRequest {
  caller: Caller | undefined;
  /** The typed request, once it is parsed. */
  request: unknown;
  works: readonly (CryptoWork | Failure)[] | undefined;
  /** Of an operation whose calls have receipts: the id of this call's, once its record is written. */
  receiptId?: string | undefined;
}

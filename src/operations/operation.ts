import { type WorkKind, workKinds } from '../algorithms/work-kinds.ts';
import type { AuditParts } from '../audit/service/parts.ts';
import type { Failure } from '../core/failure.ts';
import { ok, type Result } from '../core/result.ts';
import type { Caller, Scope } from '../core/scope.ts';
import type { Custodies } from '../custody/custody.ts';
import type { CostTable } from '../dispatch/costs.ts';
import type { WorkItem } from '../dispatch/work.ts';
import type { BatchResult } from '../engine/batch.ts';
import type { KeyHandle, Keyring } from '../keys/keyring.ts';
import { type AuditDurability, softwareBackend } from '../keys/record.ts';
import type { CostMeter } from '../queue/cost-meter.ts';

/** The parts that operations work with. */
export interface OperationParts {
  readonly keyring: Keyring;
  readonly custodies: Custodies;
  readonly costs: CostTable;
  /** Canonical names of the algorithms that may be created and used. */
  readonly allowedAlgorithms: ReadonlySet<string>;
  readonly batchMaxItems: number;
  readonly audit: AuditParts | undefined;
  /** The load report as plain JSON: of all tenants, or of one. */
  readonly load: (onlyTenant?: string) => unknown;
}

/** A request as a listener and the router understood it; nothing in it is checked yet. */
export interface OperationRequest {
  /** The rest of the path, percent-decoded: a kid, or the path of an exported log's file. */
  readonly kid: string | undefined;
  readonly query: string;
  /** Only valid until the request path returns its promise: it is parsed before anything is awaited. */
  readonly body: Uint8Array;
}

export type Answer =
  /** Plain JSON. */
  | { readonly status: 200 | 201 | 202; readonly body: unknown }
  /** A format that others have defined. */
  | { readonly status: 200; readonly raw: { readonly contentType: string; readonly bytes: Uint8Array } };

/** Crypto work that stays together in one job. */
export interface CryptoWork {
  /** The key's algorithm, for metrics. */
  readonly alg: string;
  readonly kind: WorkKind;
  readonly items: readonly WorkItem[];
  /** One per item. */
  readonly meters: readonly CostMeter[];
  /** The keys that it uses, for their usage limits and for the audit log. */
  readonly uses: readonly KeyUse[];
  /** For the audit log: the payload's BLAKE3 digest in hex, or `sha256:` and that digest of a message that came whole. */
  readonly inputDigest: string;
  /** The client's own name for the call. */
  readonly opId: string | undefined;
  /** True if the answer shows its receipts, so that they need all that they may have. */
  readonly receipts: boolean;
  /** The verdict of a use's record on results that there are; without it, the record says that the key was used. */
  readonly verdict?: (use: KeyUse, results: readonly BatchResult[]) => Verdict;
}

/** Of a verification, by one key: its signatures are valid, are not, or could not be checked. */
export type Verdict = 'ok' | 'invalid' | 'error:Internal';

export interface KeyUse {
  readonly keyId: string;
  readonly version: number;
  readonly alg: string;
  /** The durability that the answer waits for, where it is more than usual. */
  readonly durability: AuditDurability | undefined;
}

/**
 * The home in which this kind of work is done with a key. Public keys are anybody's, so work that needs no others is done by
 * our engine, and goes on if a home is gone.
 */
export function homeOf(kind: WorkKind, { head }: KeyHandle): string {
  return workKinds[kind].usesSecret ? head.backend : softwareBackend;
}

export function useOf({ head, version, algorithm }: KeyHandle): KeyUse {
  const { id: keyId, auditDurability: durability } = head;
  return { keyId, version: version.version, alg: algorithm.name, durability };
}

/** An audit log's word on a key that was used: by whose record its use can be proved. */
export interface UseReceipt {
  readonly kid: string;
  /** Position in the log. */
  readonly index: number;
  /** Sequence number among the key's records. */
  readonly seq: number;
  /** 16 bytes that open the record's `input_hash`, where it is a commitment and the answer shows receipts. */
  readonly salt_b64?: string;
}

/** The outcome of one work. */
export type WorkOutcome = Result<{
  readonly results: readonly BatchResult[];
  /** One for each of the work's uses; empty where nothing is recorded. */
  readonly receipts: readonly UseReceipt[];
}>;

/** The works that an operation needs done, and the way from their results to an answer. */
export interface CryptoPlan {
  /** One for each item of the call; a failure is that item's own and does not stop the others. */
  readonly works: readonly (CryptoWork | Failure)[];
  /** The kids that each item of a batch names: for the records of those that are refused. */
  readonly subjects?: readonly (readonly string[])[];
  /** `outcomes` has one entry for each of `works`. */
  finish(outcomes: readonly WorkOutcome[]): Result<Answer>;
}

export type Step<T> = Result<T> | Promise<Result<T>>;

/** The subject of a refused call, for its record: the kids as they were given, or, where a call names no key, its algorithm. */
export type Subjects = readonly string[] | NoKey;

export interface NoKey {
  /** As in records: the canonical name, or `none`. */
  readonly alg: string;
}

interface Described<Input> {
  /** As in metrics, logs and the audit log. */
  readonly name: string;
  readonly scope: Scope;
  parse(request: OperationRequest): Result<Input>;
  /** Absent where a call names neither a key nor an algorithm. */
  subjects?(input: Input): Subjects;
}

/** Uses keys: planned here, queued and run by the request path. */
export interface CryptoOperation<Input> extends Described<Input> {
  readonly kind: 'crypto';
  /** True if one request may hold many calls; it then has longer by default. */
  readonly batch: boolean;
  plan(input: Input, caller: Caller): Step<CryptoPlan>;
}

/** Reads or changes keys. */
export interface KeyOperation<Input> extends Described<Input> {
  readonly kind: 'keys';
  run(input: Input, caller: Caller): Step<Answer>;
}

// biome-ignore lint/suspicious/noExplicitAny: each operation's input is its own; the request path only carries it from parse to plan or run.
export type Operation = CryptoOperation<any> | KeyOperation<any>;

export function subjectsOf<Input>(operation: Described<Input>, input: Input): Subjects {
  return operation.subjects?.(input) ?? noKey;
}

const noKey: NoKey = { alg: 'none' };

/** The plan of a request that is one work: its outcome becomes the whole answer. */
export function singlePlan<Plan extends { readonly work: CryptoWork }>(
  planned: Step<Plan>,
  finish: (plan: Plan, outcome: WorkOutcome) => Result<unknown>,
): Step<CryptoPlan> {
  if (planned instanceof Promise) return planned.then((plan) => singlePlan(plan, finish));
  if (!planned.ok) return planned;
  return ok({
    works: [planned.value.work],
    finish(outcomes) {
      const answer = finish(planned.value, outcomes[0] as WorkOutcome);
      return answer.ok ? ok({ status: 200, body: answer.value }) : answer;
    },
  });
}

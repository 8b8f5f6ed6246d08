import type { Refused } from './result.ts';

/** The uses that a capability may permit, the closed list of the HTTP surface. */
export const scopes = [
  'kms:create',
  'kms:read',
  'kms:sign',
  'kms:verify',
  'kms:wrap',
  'kms:unwrap',
  'kms:encrypt',
  'kms:decrypt',
  'kms:derive',
  'kms:rotate',
  'kms:destroy',
  'kms:audit',
  'kms:admin',
] as const;

export type Scope = (typeof scopes)[number];

/** The stages and places that a key can be kept apart for, and a caller be of; the closed lists of the surface that has them. */
export const environments = ['dev', 'staging', 'prod'] as const;
export const planes = ['laptop', 'tenant', 'product', 'shared'] as const;

/** The part of an organization that a caller is of, where its identity says so. */
export interface CallerPlacement {
  /** dev, staging, prod. */
  readonly environments: readonly string[] | 'all';
  /** laptop, tenant, product, shared. */
  readonly planes: readonly string[] | 'all';
  /** The name of the service that asks. */
  readonly module: string;
}

/** The caller and its permissions: the outcome of authentication. */
export interface Caller {
  readonly tenant: string;
  readonly scopes: ReadonlySet<Scope>;
  /** Pseudonymous identity of the capability for logs and audit; never the token or a part of it. */
  readonly actor: string;
  /** The end of the capability in UTC, milliseconds since 1970, so that it makes none that lasts longer. Absent: it has none. */
  readonly expiresAtMs?: number;
  /** It is known who that is, and that it may do nothing: its tries are recorded, and answered as a stranger's. No scopes. */
  readonly stranger?: true;
  /** The capability's further demands on each call; undefined, as of most, where there are none. */
  readonly conditions?: CallConditions;
  /** Absent: its identity says nothing of it, and keys that have a placement are not for it. */
  readonly placement?: CallerPlacement;
}

/** One call, as far as a capability may ask about it. A fact that a call does not have refuses who asks for it. */
export interface CallFacts {
  /** Its name in metrics and the audit log. */
  readonly operation: string;
  /** The kids as they were given. Empty where the call names no key. */
  readonly kids: readonly string[];
  /** Of the key that is made, or of those that are listed: the purpose, and the algorithm's canonical name. */
  readonly purpose?: string | undefined;
  readonly alg?: string | undefined;
  /** BLAKE3-256 of the payload, in hex. */
  readonly payloadB3?: string | undefined;
  readonly opId?: string | undefined;
  /** SHA-256 of the canonical request in hex: of its RFC 8785 JSON, without the op_id. */
  readonly requestSha256?: (() => string) | undefined;
  /** True if it changes keys or capabilities, so that its uses are counted durably. */
  readonly changes: boolean;
}

/** Conditions that are judged where the operation and its keys are known. */
export interface CallConditions {
  /** The reason against this call. It comes from the request alone, so that it says nothing of the keys that exist. */
  refusal(call: CallFacts): Refused | undefined;

  /**
   * Counts the call, once, before anything is done, and each item of a batch. Agreements of a second principal, and uses of calls
   * that change something, are on disk when the promise resolves. A use that was counted stays counted.
   */
  use(call: CallFacts, items: number): Refused | undefined | Promise<Refused | undefined>;

  /** Takes microseconds of workers from what the capability may use. */
  spend(costUs: number): Refused | undefined;
}

/** True if these scopes permit `scope`. `kms:rotate` also permits creating keys. The only place that knows this rule. */
export function grants(granted: ReadonlySet<Scope>, scope: Scope): boolean {
  return granted.has(scope) || (scope === 'kms:create' && granted.has('kms:rotate'));
}

export function permits(caller: Caller, scope: Scope): boolean {
  return grants(caller.scopes, scope);
}

/** True if an identity names this environment or this plane, or all of them. */
export function namesOne(own: readonly string[] | 'all', name: string): boolean {
  return own === 'all' || own.includes(name);
}

/** The environments and planes of a caller: none where its identity says nothing of them. The only place that knows this rule. */
export function placesOfCaller({ placement }: Pick<Caller, 'placement'>): OwnPlaces {
  return placement ?? nowhere;
}

type OwnPlaces = Pick<CallerPlacement, 'environments' | 'planes'>;
const nowhere: OwnPlaces = { environments: [], planes: [] };

/** True of a caller who is of this environment and of this plane. Null, as of what has no place: of any. */
export function isOfPlace(
  caller: Pick<Caller, 'placement'>,
  { environment, plane }: { readonly environment: string | null; readonly plane: string | null },
): boolean {
  const { environments, planes } = placesOfCaller(caller);
  return (
    (environment === null || namesOne(environments, environment)) &&
    (plane === null || namesOne(planes, plane))
  );
}

import type { Usage } from '../algorithms/work-kinds.ts';
import type { environments, planes } from '../core/scope.ts';

/**
 * A key as it is stored: one head, and one record for each version. Times are UTC milliseconds. `revision` counts the
 * writings of a record, from 1. `found`: it was there before records were authenticated, and taken as it was.
 */
export interface KeyHead {
  /** `<tenant>/<purpose>/<alg>/<uuid>`, without a version. */
  readonly id: string;
  readonly tenant: string;
  readonly purpose: string;
  /** Canonical name in the registry. */
  readonly alg: string;
  readonly state: 'active' | 'destroyed';
  /** Versions are 1…currentVersion without gaps; only the current one signs. */
  readonly currentVersion: number;
  readonly createdAtMs: number;
  readonly revision: number;
  readonly found?: true;
  /** The custody that holds the private parts, by its name. */
  readonly backend: string;
  /** The durability that answers with this key wait for, where it is more than the service's default. */
  readonly auditDurability?: AuditDurability;
  /** The uses that the key is limited to; absent: all that its algorithm can do. */
  readonly usages?: readonly Usage[];
  /** Absent: only who asks for it rotates the key. */
  readonly rotation?: RotationPlan;
  /** Absent: nothing of it was asked for, and the record has no bytes for it. */
  readonly policy?: KeyPolicy;
  /** Absent: the key is of the tenant as a whole. One with a placement is for callers of that place alone. */
  readonly placement?: KeyPlacement;
  /** A name for people, see isAlias. One key of its tenant and placement has it, and keeps it over rotations. */
  readonly alias?: string;
  /** From then on no version of it makes anything new. */
  readonly validUntilMs?: number;
  /** Absent: the placement alone says who may use it. */
  readonly access?: KeyAccess;
}

export type KeyEnvironment = (typeof environments)[number];
export type KeyPlane = (typeof planes)[number];

/** The part of an organization that a key is for. */
export interface KeyPlacement {
  readonly environment: KeyEnvironment;
  readonly plane: KeyPlane;
}

/** The callers of its place that may use a key, and how. Each member is absent where it was not asked for. */
export interface KeyAccess {
  /** Names of the services that may use it; at least one, without repetition. */
  readonly allowedModules?: readonly string[];
  /** Each use of its private or secret part needs the agreement of a second principal. */
  readonly requiresApproval?: true;
  /** Signatures and encryptions in a day of UTC, by all versions together. */
  readonly maxUsagePerDay?: number;
}

export const revocationReasons = ['compromised', 'retired', 'policy_violation'] as const;
export type RevocationReason = (typeof revocationReasons)[number];

/** The facts of one version of a key that has a placement; other keys have none of them. Each is absent until it is so. */
export interface VersionLifecycle {
  /** UUID (RFC 9562), lower case: of version 1 that of the kid, of others their own. One version of the tenant has it. */
  readonly keyId?: string;
  /** The next version became the current one then. */
  readonly replacedAtMs?: number;
  /** It makes nothing new from then on, and still opens and verifies. */
  readonly archivedAtMs?: number;
  /**
   * Its private part is gone since then. Signatures of a compromised one are never valid; those of others stay so, until the
   * reason is raised to it.
   */
  readonly revoked?: { readonly reason: RevocationReason; readonly atMs: number };
}

/** The schedule by which a key gets new versions. */
export interface RotationPlan {
  /** Days after which the current version is replaced. */
  readonly afterDays: number;
  /** The newest versions that stay; older ones are destroyed after the grace. Absent: all stay. */
  readonly keepVersions?: number;
  /** The current version was made then, UTC in milliseconds since 1970. */
  readonly sinceMs: number;
}

/** What the maker of a key asked of its backend, for as long as the key lives. Each member is absent where it was not asked for. */
export interface KeyPolicy {
  /** Version 1 is this key, which was in the token before. Later versions are made there. */
  readonly adopt?: TokenKeyName;
  /** While its backend is away, another one of the same attestation class that has the very same key may sign. */
  readonly allowSignFallback?: true;
  /** Answers of signing bring evidence of its residence. `require`: without it the key does not sign. */
  readonly attest?: true | 'require';
}

/** The name of a key in a token: CKA_LABEL, or CKA_ID in hexadecimal, lower case. */
export type TokenKeyName = { readonly label: string } | { readonly idHex: string };

/** The custody of keys that the engine opens from sealed blobs: of all keys, before there were others. */
export const softwareBackend = 'software';

/** Each survives more than the one before: the end of the process, a power loss, the loss of the machine. */
export const auditDurabilities = ['written', 'synced', 'witnessed'] as const;
export type AuditDurability = (typeof auditDurabilities)[number];

/** Nothing but these facts of a version, without those that it does not have. */
export function lifecycleIn({
  keyId,
  replacedAtMs,
  archivedAtMs,
  revoked,
}: VersionLifecycle): VersionLifecycle {
  return {
    ...(keyId === undefined ? undefined : { keyId }),
    ...(replacedAtMs === undefined ? undefined : { replacedAtMs }),
    ...(archivedAtMs === undefined ? undefined : { archivedAtMs }),
    ...(revoked && { revoked }),
  };
}

export interface KeyVersion extends VersionLifecycle {
  readonly id: string;
  readonly version: number;
  readonly state: 'active' | 'destroyed';
  readonly createdAtMs: number;
  readonly revision: number;
  readonly found?: true;
  /** Absent: it was made here at random. */
  readonly source?: KeySource;
  /** One for each component of the algorithm, in its order. */
  readonly parts: readonly KeyPart[];
}

/** The way by which a version came here: from the key whose versioned kid this is, or from outside. */
export type KeySource =
  | { readonly kind: 'derived'; readonly from: string }
  /** `publicOnly`: its private parts are elsewhere, and it only checks. */
  | { readonly kind: 'imported'; readonly publicOnly: boolean };

/** True if the private parts of a version were never here. */
export function isPublicOnly(source: KeySource | undefined): boolean {
  return source?.kind === 'imported' && source.publicOnly;
}

export interface KeyPart {
  readonly publicKey: Uint8Array;
  /** The bytes by which custody uses the private part (software: the sealed blob); absent once destroyed. */
  readonly sealed?: Uint8Array;
  /** Of a private part that was made before anyone asked for it: it is sealed under this name, and not under the kid's. */
  readonly pooled?: PooledName;
}

/** A private part of a store's pool. */
export interface PooledName {
  /** UUID. */
  readonly name: string;
  /** Of its entry in the store, until that is gone. */
  readonly revision?: number;
}

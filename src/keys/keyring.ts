import type { Algorithm, Component } from '../algorithms/descriptor.ts';
import type { Usage } from '../algorithms/work-kinds.ts';
import type { Clock } from '../core/clock.ts';
import type { FailureCode } from '../core/failure.ts';
import type { Refused, Result } from '../core/result.ts';
import type { Store } from '../store/store.ts';
import type { RecordMac } from './authenticity.ts';
import type { StateCount } from './lifecycle/state-counter.ts';
import type {
  AuditDurability,
  KeyAccess,
  KeyHead,
  KeyPart,
  KeyPlacement,
  KeyPolicy,
  KeySource,
  RevocationReason,
  RotationPlan,
  TokenKeyName,
  VersionLifecycle,
} from './record.ts';

/**
 * The keys of all tenants: the only reader and writer of key records, and the cache on the way of every signature.
 *
 * Every method takes the tenant of the caller. Another tenant's key is NotFound, without a look into the store, as if
 * it did not exist; a text that is no kid is BadRequest. A `kid` may name a version (`#v2`) or not (the current one).
 * StoreUnavailable comes from the store, or from the custody of the key: also where there is none of its name. A record that cannot be read is Internal and is told to `onCorruptRecord`.
 */
export interface Keyring {
  /**
   * The version that a kid names: at once when it is cached (no parsing, one look-up), otherwise from the store.
   * Concurrent misses of one key read it once. The handle is a snapshot: whoever got it before a rotation was durable
   * has the old version, whoever asks afterwards has the new one, and `version.kid` is always the key in it.
   */
  find(tenant: string, kid: string): Result<KeyHandle> | Promise<Result<KeyHandle>>;

  /**
   * A new key with version 1. Durable when it resolves, as with every change. Conflict: the tenant has `maxKeysPerTenant` keys
   * that are not destroyed, or the key with the given uuid is destroyed. StoreUnavailable, as of `rotate`: there is too little room for new keys.
   */
  create(request: CreateKey): Promise<Result<KeyMade>>;

  /**
   * Version N+1, which is current from then on. Conflict: the key is destroyed, it was derived, the kid names a version that is
   * not the current one, or the key has `maxVersionsPerKey` versions. Backpressure: too many changes wait for this key.
   */
  rotate(request: RotateKey): Promise<Result<KeyMade>>;

  /**
   * Destroys the whole key, or one version when the kid or `version` names one: the private parts are removed from the
   * store, the public parts stay. Doing it twice gives the same answer. Conflict: a version that is still current.
   */
  destroy(request: DestroyKey): Promise<Result<KeyDestroyed>>;

  /**
   * The version that this key_id names, of a key with a placement, with the promises of `find`: at once when the name and the key
   * are in memory. NotFound: the tenant has none, which a text that is no UUID says too.
   */
  findByKeyId(tenant: string, keyId: string): Result<KeyHandle> | Promise<Result<KeyHandle>>;

  /** The current version of the key that has this alias there. NotFound: none has had it. It may be destroyed. */
  findByAlias(tenant: string, placement: KeyPlacement, alias: string): Promise<Result<KeyHandle>>;

  /** The names of versions of keys with a placement, of all states, in the order of their key_ids. */
  keyIds(request: ListKeyIds): Promise<Result<readonly NamedVersion[]>>;

  /**
   * The version that the kid names makes nothing new from then on; where it is the current one, the key has no schedule any more.
   * Doing it twice gives the same answer. Conflict: it is destroyed. Only of keys with a placement, as `revoke`; others are BadRequest.
   */
  archive(request: ChangeKey): Promise<Result<KeyArchived>>;

  /**
   * The private part of the version that the kid names is gone for good, and of the current one the key's state is `destroyed`;
   * other versions stay. Doing it twice gives the answer of the first time, also with another reason.
   */
  revoke(request: RevokeKey): Promise<Result<KeyRevoked>>;

  /** Heads in the order of their ids, destroyed ones too; a page may be shorter than the limit and still have a successor. */
  list(request: ListKeys): Promise<Result<KeyPage>>;

  /** The head and its versions, newest first, at most 256. For a kid with `#vN`: only that version. */
  describe(tenant: string, kid: string): Promise<Result<KeyDescription>>;

  /** Public parts of versions that are not destroyed, newest first. BadRequest: there are more to look through than one call does. */
  publicVersions(filter: PublicVersionsFilter): Promise<Result<readonly PublicVersion[]>>;

  /** Active keys, for the metric kms_keys_total; grows to the truth in the background after the start. At most 1,000 series and `other`. */
  /** Everything is read from the store again: it was sealed anew. Handles that were given out before stay as they are. */
  refresh(): void;
  counts(): readonly KeyCount[];
  /** Versions of keys with a placement by algorithm and state now; grows to the truth as `counts` does. */
  stateCounts(): readonly StateCount[];

  /** Stops background work and forgets every key number. Waits for changes under way. Idempotent. */
  close(): Promise<void>;
}

export interface KeyHandle {
  readonly head: KeyHead;
  readonly algorithm: Algorithm;
  readonly version: LoadedVersion;
  /** True if it is the current version of an active key. Otherwise it makes nothing new: signing with it is a Conflict. */
  readonly current: boolean;
}

export interface LoadedVersion extends VersionLifecycle {
  /** `<id>#v<version>`. */
  readonly kid: string;
  readonly version: number;
  readonly state: 'active' | 'destroyed';
  readonly createdAtMs: number;
  readonly source: KeySource | undefined;
  /** One for each component of the algorithm, in its order. */
  readonly parts: readonly LoadedPart[];
}

export interface LoadedPart {
  readonly component: Component;
  /** The name of the custody that has the private part: its work is done there. */
  readonly home: string;
  /** Never given twice in a process; 0 only when all 2^32 - 1 numbers are used up, and then nothing is cached. */
  readonly keyNumber: number;
  readonly publicKey: Uint8Array;
  /** The bytes that an item carries as its private or secret key; empty, and unusable, if this version uses it no more. */
  readonly keyReference: Uint8Array;
}

/** A client's own name for a change: the same name and body again gives the same answer and changes nothing. */
export interface OperationId {
  /** UUID (RFC 9562), any case; one name space for each tenant. */
  readonly id: string;
  /** The request without its op_id, plain JSON; the order of its members does not matter. */
  readonly body: unknown;
  /** The same in its one plain spelling, which decides whether two requests are the same; without it, the body. */
  readonly meaning?: unknown;
}

export interface CreateKey {
  readonly tenant: string;
  /** Pseudonym of who asks, for the journal. */
  readonly actor: string;
  readonly purpose: string;
  readonly algorithm: Algorithm;
  /** The name of the custody that makes it and keeps it; software where it is absent. Unsupported where there is no such one. */
  readonly backend?: string;
  /** See KeyHead. */
  readonly auditDurability?: AuditDurability;
  readonly usages?: readonly Usage[];
  readonly rotation?: Omit<RotationPlan, 'sinceMs'>;
  readonly policy?: KeyPolicy;
  /** Another at random where it is absent. A key that is there already is the answer, and nothing is made. */
  readonly uuid?: string;
  /** Where the first version is not to be made at random. */
  readonly given?: GivenVersion;
  /** In place of the keyring's own bound. */
  readonly maxKeysPerTenant?: number;
  /** See KeyHead, as of the three that follow, which only keys with a placement have. Conflict: the alias is another key's. */
  readonly placement?: KeyPlacement;
  readonly alias?: string;
  readonly validUntilMs?: number;
  readonly access?: KeyAccess;
  readonly operation?: OperationId;
  readonly agreed?: Agreed;
}

/**
 * The agreement of a second principal to a change: asked once, when nothing else stands against it, so that neither a refusal nor
 * a repetition uses one up. A refusal stops the change.
 */
export type Agreed = () => Promise<Refused | undefined>;

export interface ChangeKey {
  readonly tenant: string;
  readonly actor: string;
  readonly kid: string;
  readonly operation?: OperationId;
  readonly agreed?: Agreed;
}

export interface RevokeKey extends ChangeKey {
  readonly reason: RevocationReason;
}

export interface RotateKey extends ChangeKey {
  /** Where the new version is not to be made at random. */
  readonly given?: GivenVersion;
}

/** A version that comes from elsewhere. */
export interface GivenVersion {
  readonly source: KeySource;
  /** Its parts, sealed under the kid that it will have; asked once nothing stands against the change. */
  make(versionedKid: string): Promise<Result<readonly KeyPart[]>>;
}

export interface DestroyKey extends ChangeKey {
  /** The same as a kid with this version; naming two different ones is BadRequest. */
  readonly version?: number;
}

export interface KeyMade {
  /** With its version. */
  readonly kid: string;
  /** The versioned kid that was current before; absent for a new key. */
  readonly previous?: string;
  readonly algorithm: Algorithm;
  readonly createdAtMs: number;
  /** One for each component of the algorithm, in its order. */
  readonly publicKeys: readonly Uint8Array[];
  /** Of a key with a placement. */
  readonly keyId?: string;
  /** True when an earlier call with the same op_id did the work. */
  readonly replayed: boolean;
}

export interface KeyArchived {
  /** With its version. */
  readonly kid: string;
  readonly archivedAtMs: number;
  /** True when there was nothing left to do. */
  readonly replayed: boolean;
}

export interface KeyRevoked {
  /** With its version. */
  readonly kid: string;
  /** Of the first time, also where the reason was raised to `compromised` later. */
  readonly revokedAtMs: number;
  readonly reason: RevocationReason;
  readonly replayed: boolean;
}

export interface ListKeyIds {
  readonly tenant: string;
  /** Only those after this key_id. */
  readonly after?: string;
  /** 1 to 1,000. */
  readonly limit: number;
}

export interface NamedVersion {
  readonly keyId: string;
  /** With its version. */
  readonly kid: string;
}

export interface KeyDestroyed {
  /** With a version when only that version was destroyed. */
  readonly kid: string;
  /** True when there was nothing left to do, or an earlier call with the same op_id did it. */
  readonly replayed: boolean;
}

export interface ListKeys {
  readonly tenant: string;
  readonly purpose?: string;
  readonly algorithm?: Algorithm;
  /** The cursor of an earlier page for the same tenant and filters; anything else is BadRequest. */
  readonly cursor?: string;
  /** 1 to 1,000, default 100. */
  readonly limit?: number;
}

export interface KeyPage {
  readonly keys: readonly KeyHead[];
  readonly nextCursor?: string;
}

export interface KeyDescription {
  readonly head: KeyHead;
  readonly algorithm: Algorithm;
  readonly versions: readonly DescribedVersion[];
}

export interface DescribedVersion extends VersionLifecycle {
  readonly kid: string;
  readonly version: number;
  readonly state: 'active' | 'destroyed';
  readonly createdAtMs: number;
  readonly source: KeySource | undefined;
  readonly publicKeys: readonly Uint8Array[];
}

export interface PublicVersionsFilter {
  readonly tenant: string;
  readonly purpose?: string;
  /** One key, or with `#vN` one version. */
  readonly kid?: string;
  readonly limit: number;
}

export interface PublicVersion {
  /** Versioned. */
  readonly kid: string;
  readonly algorithm: Algorithm;
  readonly version: number;
  readonly createdAtMs: number;
  readonly publicKeys: readonly Uint8Array[];
}

export interface KeyCount {
  /** All three are `other` for what has no series of its own. */
  readonly tenant: string;
  readonly purpose: string;
  readonly alg: string;
  readonly count: number;
}

/** The part of a custody that the keyring needs (`Custody` has this shape). It takes and gives plain data only. */
export interface PrivateParts {
  /** Its name in records, of the grammar of names. */
  readonly backend: string;
  /** True if it makes and uses keys of this algorithm. */
  holds(algorithm: Algorithm): boolean;
  /**
   * Makes the keys of one version, of an algorithm that it holds: a part for each component, in their order. The private parts
   * are bound to exactly this tenant and versioned kid. Settles within a deadline of its own, as `destroy` does.
   */
  generate(algorithm: Algorithm, tenant: string, versionedKid: string): Promise<Result<readonly KeyPart[]>>;
  /**
   * Takes a key that was in the home before as the one of this version, with the promises of `generate`. BadRequest: no such
   * key, or it is not as our own are. Conflict: it is taken already. Absent where there are none.
   */
  adopt?(
    algorithm: Algorithm,
    tenant: string,
    versionedKid: string,
    key: TokenKeyName,
  ): Promise<Result<readonly KeyPart[]>>;
  /** The bytes that an item carries as its key. Only the home of this custody can use them. */
  keyReference(part: KeyPart, partIndex: number, tenant: string, versionedKid: string): Uint8Array;
  /**
   * Ends the use of these keys; their records forget the private parts afterwards. The same call may come again, after a
   * refusal or a crash, and then succeeds too.
   */
  destroy(tenant: string, versions: readonly PrivateVersion[]): Promise<Result<void>>;
  /**
   * Keys that were made or taken, and came into no record: what was made goes, what was taken is as it was before. Never rejects.
   * Absent where a key is nowhere but in its record.
   */
  discard?(tenant: string, versions: readonly PrivateVersion[]): Promise<void>;
}

/** The private parts of one version. */
export interface PrivateVersion {
  readonly kid: string;
  readonly parts: readonly KeyPart[];
}

/** One change of a key that is about to be committed. */
export interface KeyChange {
  readonly kind: 'create' | 'rotate' | 'destroy' | 'archive';
  readonly tenant: string;
  readonly actor: string;
  readonly keyId: string;
  /** The new version; the version destroyed, or 0 for the whole key. */
  readonly version: number;
  readonly alg: string;
  /** Of the version that is made, in hex; see publicKeySha256. Undefined where none is made. */
  readonly publicKeySha256: string | undefined;
  /** Of a version that is made, unless at random. */
  readonly source: KeySource | undefined;
  /** The client's op_id, where there is one. */
  readonly opId: string | undefined;
  /** Of keys with a placement: further members of its record. */
  readonly facts?: Readonly<Record<string, string>> | undefined;
}

/**
 * A place where changes are written down before they happen, durably. A change that is not there did not happen; one that is
 * there and did not happen was cut off by a crash.
 */
export interface KeyJournal {
  /** A refusal stops the change. */
  record(change: KeyChange): Promise<Result<WrittenChange>>;
}

export interface WrittenChange {
  /** To be called once: the change is in the store, or it is not, or the store could not say so. */
  end(failure: FailureCode | undefined): void;
}

/** Private parts of our own custody that lie ready, each of which becomes one version of one key. */
export interface KeyPool {
  /** One that nobody else is given until it is known that no key has it; undefined: there is none of this algorithm. */
  take(algorithm: Algorithm): Promise<KeyPart | undefined>;
}

/** The room for new keys and versions. */
export interface RoomForKeys {
  refusal(tenant: string): Refused | undefined;
  /** One was made. */
  made(tenant: string): void;
}

export interface KeyringParts {
  readonly store: Store;
  /** By their names, software among them. A key belongs to the one that its head names. */
  readonly custodies: ReadonlyMap<string, PrivateParts>;
  readonly clock: Clock;
  readonly journal: KeyJournal;
  /** Private parts that were made before anyone asked for them; absent: there are none. */
  readonly pool?: KeyPool | undefined;
  /** There is always room where this is absent. */
  readonly room?: RoomForKeys | undefined;
  /** Authenticates the records of keys. */
  readonly mac: RecordMac;
  /** Told the head of each key that this keyring finds at its start or changes. Must not throw. */
  readonly onHead?: (head: KeyHead) => void;
  /** This number will not be used again: the engine wipes what it opened under it. Must not throw. */
  readonly onForget: (keyNumber: number) => void;
  /** For the operator's log: the name of a store record that has not the shape of a key record, or is not authentic. Must not throw. */
  readonly onCorruptRecord: (storeKey: string) => void;
  /** For the operator's log: the key of this record is refused, as no custody has this name. Must not throw. */
  readonly onUnknownBackend: (storeKey: string, backend: string) => void;
  /** For the operator's log: nobody knows whether this version came into the store, and its key stays in its home. Must not throw. */
  readonly onLeftInHome?: (versionedKid: string, backend: string) => void;
  /** For states that follow from it: how long a replaced version is expected to be in use. Asked each time; 7 days where it is absent. */
  readonly graceMs?: (() => number) | undefined;
}

export interface KeyringOptions {
  readonly maxCachedKeys: number;
  readonly maxCachedOldVersions: number;
  readonly maxVersionsPerKey: number;
  readonly maxKeysPerTenant: number;
  readonly maxWaitingChangesPerKey: number;
  readonly operationKeptMs: number;
}

export const keyringDefaults: KeyringOptions = {
  /** A hybrid key is about 2.5 KiB here, so a full cache is about 160 MiB; fewer keys would thrash at a busy company's size. */
  maxCachedKeys: 65_536,
  /** Public parts only, for verification of what older versions signed: at most about 140 MiB of ML-DSA keys. */
  maxCachedOldVersions: 65_536,
  /** Destroying a key rewrites all its versions and the head in one commit of at most 10,000 changes; an hourly rotation takes a year to get here. */
  maxVersionsPerKey: 9_990,
  /** About 3 GiB of the store. Counted in the background after a start, so more can be made while that goes on. */
  maxKeysPerTenant: 1_000_000,
  /** Changes of one key run one after the other and each may take a second (RSA-4096): more than this would wait past any deadline. */
  maxWaitingChangesPerKey: 64,
  /** Longer than any client's retries or a weekend's outage; each record costs about 300 bytes for as long. */
  operationKeptMs: 7 * 24 * 3_600_000,
};

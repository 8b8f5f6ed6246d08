import type { FailureCode } from '../core/failure.ts';
import { ok, type Result, refuse } from '../core/result.ts';
import type { Change, CommitOutcome } from '../store/store.ts';
import { encodeHead, encodeVersion, headKey, poolPrefix, versionKey } from './codec.ts';
import type { ChangeKey, KeyChange, KeyringParts, PrivateParts, PrivateVersion } from './keyring.ts';
import { formatKid, type Kid } from './kid.ts';
import type { KeyLookup } from './lookup.ts';
import { isPublicOnly, type KeyHead, type KeyPart, type KeyVersion } from './record.ts';
import type { KeyRecords, Revised } from './records.ts';
import type { Serial } from './serial.ts';

/** The caller that asks for a change, and the name of the request. */
export interface Asking {
  readonly actor: string;
  readonly opId: string | undefined;
}

export function asking({ actor, operation }: Pick<ChangeKey, 'actor' | 'operation'>): Asking {
  return { actor, opId: operation?.id };
}

export const overtaken = refuse('Conflict', 'the key was changed at the same time; try again');

export type ChangeOfKey = Pick<KeyChange, 'kind' | 'version' | 'publicKeySha256' | 'source' | 'facts'> &
  Asking;

/** A change that makes no version. */
export const madeNothing = { publicKeySha256: undefined, source: undefined } as const;

/** The commits of changes of keys: each expects the revisions that were read, and is written down first. */
export class KeyCommits {
  /** Changes of one key run one after the other here. */
  readonly serial: Serial;
  readonly #parts: KeyringParts;
  readonly #records: KeyRecords;
  readonly #lookup: KeyLookup;

  constructor(
    parts: KeyringParts,
    { records, lookup, serial }: { records: KeyRecords; lookup: KeyLookup; serial: Serial },
  ) {
    this.serial = serial;
    this.#parts = parts;
    this.#records = records;
    this.#lookup = lookup;
  }

  async readHead(kid: Kid): Promise<Result<Revised<KeyHead>>> {
    const head = await this.#records.head(kid.id);
    if (!head.ok) return head;
    return head.value === undefined ? refuse('NotFound') : ok(head.value);
  }

  /**
   * Written down first, then done. `atHome`: what the custody does before the records follow, so that a call that is cut off
   * between the two can be made again.
   */
  async commit(
    before: KeyHead,
    change: ChangeOfKey,
    changes: readonly Change[],
    atHome?: () => Promise<Result<void>>,
  ): Promise<Result<void>> {
    const { tenant, id: keyId, alg } = before;
    const recorded = await this.#parts.journal.record({ tenant, keyId, alg, ...change });
    if (!recorded.ok) return recorded;
    let failure: FailureCode | undefined = 'Internal';
    let outcome: Result<CommitOutcome>;
    try {
      const prepared = await atHome?.();
      outcome = prepared?.ok === false ? prepared : await this.#parts.store.commit(changes);
      failure = outcome.ok ? (outcome.value.committed ? undefined : 'Conflict') : outcome.failure.code;
    } finally {
      recorded.value.end(failure);
    }
    if (failure === undefined) return ok(undefined);
    // Refused: it may have happened all the same. Not committed: the records are not what was read. Ask the store again.
    this.#lookup.forgetKey(before);
    return outcome.ok ? overtaken : outcome;
  }

  /** A key that came into no record is nowhere. A commit whose end nobody knows is looked up, as it may have happened. */
  async discard(kid: Kid, made: KeyVersion, custody: PrivateParts): Promise<void> {
    if (custody.discard === undefined) return;
    const name = formatKid(kid.id, made.version);
    const there = await this.#records.version(kid, made.version);
    if (!there.ok) {
      this.#parts.onLeftInHome?.(name, custody.backend);
      return;
    }
    const { sealed } = made.parts[0] ?? {};
    const kept = there.value?.record.parts[0]?.sealed;
    if (kept !== undefined && sealed !== undefined && Buffer.compare(kept, sealed) === 0) return;
    await custody.discard(kid.tenant, [{ kid: name, parts: made.parts }]);
  }

  headChange(head: KeyHead, expectedRevision: number): Change {
    return { key: headKey(head.id), value: encodeHead(head, this.#parts.mac), expectedRevision };
  }

  versionChange({ record, revision }: Revised<KeyVersion>): Change {
    return {
      key: versionKey(record.id, record.version),
      value: encodeVersion(record, this.#parts.mac),
      expectedRevision: revision,
    };
  }
}

/** What the record of a change says of a key with a placement, and of the version that it makes or ends. */
export function factsOfPlaced(
  { placement }: Pick<KeyHead, 'placement'>,
  version?: Pick<KeyVersion, 'keyId'>,
): Readonly<Record<string, string>> | undefined {
  if (placement === undefined) return undefined;
  const { environment, plane } = placement;
  const keyId = version?.keyId;
  return { environment, plane, ...(keyId === undefined ? undefined : { key_id: keyId }) };
}

/** The version that was current until now. */
export function replacedBy({ record, revision }: Revised<KeyVersion>, atMs: number): Revised<KeyVersion> {
  return { record: { ...record, revision: record.revision + 1, replacedAtMs: atMs }, revision };
}

/**
 * Shreds the private parts: what custody sealed is in no record any more. A store may keep the old bytes in free pages
 * until it uses them again or is compacted; there they are sealed under the root key.
 */
export function withoutPrivate(version: KeyVersion): KeyVersion {
  return {
    ...version,
    state: 'destroyed',
    revision: version.revision + 1,
    parts: version.parts.map(({ publicKey }) => ({ publicKey })),
  };
}

/** The part leaves the pool in the commit in which a key gets it, and so at most once: the entry has to be there as it was read. */
export function leavingPool(parts: readonly KeyPart[]): Change[] {
  return parts.flatMap(({ pooled }) =>
    pooled?.revision === undefined
      ? []
      : [{ key: `${poolPrefix}${pooled.name}`, value: undefined, expectedRevision: pooled.revision }],
  );
}

/** None where they are gone already. */
export function privateVersion({ record }: Pick<Revised<KeyVersion>, 'record'>): PrivateVersion[] {
  const { id, version, state, parts, source } = record;
  return state === 'destroyed' || isPublicOnly(source) ? [] : [{ kid: formatKid(id, version), parts }];
}

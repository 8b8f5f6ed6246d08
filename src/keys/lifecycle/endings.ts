import { ok, type Result, refuse, refuseByState } from '../../core/result.ts';
import { versionKey } from '../codec.ts';
import {
  type Asking,
  asking,
  factsOfPlaced,
  type KeyCommits,
  madeNothing,
  privateVersion,
  withoutPrivate,
} from '../commits.ts';
import type { KeyCounter } from '../counter.ts';
import type { Agreed, ChangeKey, KeyArchived, KeyRevoked, KeyringParts, RevokeKey } from '../keyring.ts';
import { formatKid, type Kid } from '../kid.ts';
import { custodyOf, type KeyLookup, ownKid } from '../lookup.ts';
import type { KeyHead, KeyVersion, RevocationReason } from '../record.ts';
import type { KeyRecords, Revised } from '../records.ts';
import type { StateCounter } from './state-counter.ts';

const destroyed = refuseByState('destroyed', 'the key is revoked');
const needsVersion = refuse('BadRequest', 'the kid names no version');
const noPlacement = refuse('BadRequest', 'the key has no placement');

interface Read {
  readonly kid: Kid;
  readonly head: Revised<KeyHead>;
  readonly version: Revised<KeyVersion>;
}

/** Archives and revokes versions of keys with a placement, with the promises of KeyChanges. */
export class VersionEndings {
  readonly #parts: KeyringParts;
  readonly #records: KeyRecords;
  readonly #lookup: KeyLookup;
  readonly #counter: KeyCounter;
  readonly #commits: KeyCommits;
  readonly #states: StateCounter;

  constructor(
    parts: KeyringParts,
    rooms: {
      records: KeyRecords;
      lookup: KeyLookup;
      counter: KeyCounter;
      commits: KeyCommits;
      states: StateCounter;
    },
  ) {
    this.#parts = parts;
    this.#records = rooms.records;
    this.#lookup = rooms.lookup;
    this.#counter = rooms.counter;
    this.#commits = rooms.commits;
    this.#states = rooms.states;
  }

  archive(request: ChangeKey): Promise<Result<KeyArchived>> {
    return this.#withVersion(request, (read) => this.#archive(read, asking(request), request.agreed));
  }

  revoke(request: RevokeKey): Promise<Result<KeyRevoked>> {
    return this.#withVersion(request, (read) =>
      this.#revoke(read, request.reason, asking(request), request.agreed),
    );
  }

  async #withVersion<T>(request: ChangeKey, change: (read: Read) => Promise<Result<T>>): Promise<Result<T>> {
    const kid = ownKid(request.tenant, request.kid);
    if (!kid.ok) return kid;
    const { id, version: number } = kid.value;
    if (number === undefined) return needsVersion;
    return this.#commits.serial.run(id, async () => {
      const head = await this.#commits.readHead(kid.value);
      if (!head.ok) return head;
      if (number > head.value.record.currentVersion) return refuse('NotFound');
      if (head.value.record.placement === undefined) return noPlacement;
      const version = await this.#records.version(kid.value, number);
      if (!version.ok) return version;
      if (version.value === undefined) return this.#records.corrupt(versionKey(id, number));
      return change({ kid: kid.value, head: head.value, version: version.value });
    });
  }

  async #archive(read: Read, by: Asking, agreed: Agreed | undefined): Promise<Result<KeyArchived>> {
    const { record, revision } = read.version;
    const kid = formatKid(record.id, record.version);
    if (record.state === 'destroyed') return destroyed;
    if (record.archivedAtMs !== undefined)
      return ok({ kid, archivedAtMs: record.archivedAtMs, replayed: true });
    const disagreed = await agreed?.();
    if (disagreed !== undefined) return disagreed;
    const archivedAtMs = this.#parts.clock.utcMs();
    const next = { ...record, archivedAtMs, revision: record.revision + 1 };
    const { rotation: _, ...unscheduled } = read.head.record;
    const head = { ...unscheduled, revision: unscheduled.revision + 1 };
    const what = { kind: 'archive', version: record.version, ...madeNothing, ...by } as const;
    const committed = await this.#write(read, { record: next, revision }, head, {
      ...what,
      facts: factsOfPlaced(head, record),
    });
    return committed.ok ? ok({ kid, archivedAtMs, replayed: false }) : committed;
  }

  async #revoke(
    read: Read,
    reason: RevocationReason,
    by: Asking,
    agreed: Agreed | undefined,
  ): Promise<Result<KeyRevoked>> {
    const { record, revision } = read.version;
    const kid = formatKid(record.id, record.version);
    const { revoked } = record;
    if (record.state === 'destroyed' && becomesCompromised(record, reason))
      return this.#raise(read, by, agreed);
    if (revoked !== undefined)
      return ok({ kid, revokedAtMs: revoked.atMs, reason: revoked.reason, replayed: true });
    // Destroyed for no reason that was given.
    if (record.state === 'destroyed') return destroyed;
    const custody = custodyOf(this.#parts, read.head.record.backend);
    if (!custody.ok) return custody;
    const disagreed = await agreed?.();
    if (disagreed !== undefined) return disagreed;
    const atMs = this.#parts.clock.utcMs();
    const next = { ...withoutPrivate(record), revoked: { reason, atMs } };
    const before = read.head.record;
    const isCurrent = record.version === before.currentVersion;
    const head: KeyHead = { ...before, state: 'destroyed', revision: before.revision + 1 };
    const counted = isCurrent ? this.#counter.begin(before, 'destroyed') : undefined;
    const facts = { ...factsOfPlaced(head, record), reason };
    const change = { ...revocationOf(read), ...by, facts };
    const committed = await this.#write(read, { record: next, revision }, head, change, () =>
      custody.value.destroy(read.kid.tenant, privateVersion({ record })),
    );
    counted?.end(committed.ok);
    return committed.ok ? ok({ kid, revokedAtMs: atMs, reason, replayed: false }) : committed;
  }

  /** Destroyed to destroyed compromised (KMIP; NIST SP 800-57 Part 1 Rev. 5, 7.6): the private part is gone since before. */
  async #raise(read: Read, by: Asking, agreed: Agreed | undefined): Promise<Result<KeyRevoked>> {
    const disagreed = await agreed?.();
    if (disagreed !== undefined) return disagreed;
    const { record, revision } = read.version;
    const reason = 'compromised';
    const atMs = record.revoked?.atMs ?? this.#parts.clock.utcMs();
    const next = { ...record, revision: record.revision + 1, revoked: { reason, atMs } } as const;
    const before = read.head.record;
    const head = { ...before, revision: before.revision + 1 };
    const facts = { ...factsOfPlaced(head, record), reason };
    const change = { ...revocationOf(read), ...by, facts };
    const committed = await this.#write(read, { record: next, revision }, head, change);
    const kid = formatKid(record.id, record.version);
    return committed.ok ? ok({ kid, revokedAtMs: atMs, reason, replayed: false }) : committed;
  }

  /** `head`: what becomes of it where the version is the current one. */
  async #write(
    { kid, head: { record: before, revision } }: Read,
    version: Revised<KeyVersion>,
    head: KeyHead,
    change: Parameters<KeyCommits['commit']>[1],
    atHome?: () => Promise<Result<void>>,
  ): Promise<Result<void>> {
    const { record } = version;
    const isCurrent = record.version === before.currentVersion;
    const changes = [
      ...(isCurrent ? [this.#commits.headChange(head, revision)] : []),
      this.#commits.versionChange(version),
    ];
    const committed = await this.#commits.commit(before, change, changes, atHome);
    if (!committed.ok) return committed;
    if (isCurrent) {
      this.#lookup.changed(kid, head, record);
      this.#parts.onHead?.(head);
    } else this.#lookup.forgetVersions(kid.id, [record.version]);
    this.#states.heard(isCurrent ? head : before, record);
    return committed;
  }
}

/** No other reason takes its place, and it takes the place of any. */
function becomesCompromised({ revoked }: KeyVersion, reason: RevocationReason): boolean {
  return reason === 'compromised' && revoked?.reason !== 'compromised';
}

/** In records of the log a version that is not 0 is an old one, and leaves the key as it is. */
function revocationOf({ head, version: { record } }: Read) {
  const version = record.version === head.record.currentVersion ? 0 : record.version;
  return { kind: 'destroy', version, ...madeNothing } as const;
}

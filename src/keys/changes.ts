import { randomUUID } from 'node:crypto';
import type { FailureCode } from '../core/failure.ts';
import { ok, type Refused, type Result, refuse } from '../core/result.ts';
import type { Change, CommitOutcome } from '../store/store.ts';
import { publicKeySha256 } from './authenticity.ts';
import { encodeHead, encodeVersion, headKey, versionKey } from './codec.ts';
import type { KeyCounter } from './counter.ts';
import type { Done, Idempotency } from './idempotency.ts';
import type {
  ChangeKey,
  CreateKey,
  DestroyKey,
  KeyChange,
  KeyDestroyed,
  KeyMade,
  KeyringOptions,
  KeyringParts,
  PrivateParts,
  PrivateVersion,
  RotateKey,
} from './keyring.ts';
import { formatId, formatKid, isPurpose, isTenant, type Kid } from './kid.ts';
import { custodyOf, type KeyLookup, ownKid } from './lookup.ts';
import {
  isPublicOnly,
  type KeyHead,
  type KeyPart,
  type KeySource,
  type KeyVersion,
  softwareBackend,
} from './record.ts';
import type { KeyRecords, Revised } from './records.ts';
import { Serial } from './serial.ts';

type RecordDone = (done: Done) => readonly Change[];

/** The caller that asks for a change, and the name of the request. */
interface Asking {
  readonly actor: string;
  readonly opId: string | undefined;
}

function asking({ actor, operation }: Pick<ChangeKey, 'actor' | 'operation'>): Asking {
  return { actor, opId: operation?.id };
}

const destroyed = refuse('Conflict', 'the key is destroyed');
const stale = refuse('Conflict', 'this is not the current version');
const stillCurrent = refuse('Conflict', 'rotate first, or destroy the whole key');
const tooManyVersions = refuse(
  'Conflict',
  'the key has as many versions as a key may have; create a new one',
);
const tooManyKeys = refuse('Conflict', 'the tenant has as many keys as a tenant may have; destroy one');
const noSuchBackend = refuse(
  'Unsupported',
  'this service has no backend of this name: KMS_PKCS11_MODULE, or KMS_PKCS11, configures one',
);
const notHeld = refuse('Unsupported', 'this backend holds no keys of this alg');
const notTaken = refuse('Unsupported', 'the backend of this key takes none that were made elsewhere');
const adoptsNone = refuse('Unsupported', 'this backend adopts no keys');
const overtaken = refuse('Conflict', 'the key was changed at the same time; try again');

/**
 * Create, rotate, destroy. Changes of one key run one after the other here, and each is one commit that expects the
 * revisions it has read, so that nobody else's change is ever overwritten. The look-up learns of a change when it is
 * durable; if the store could not say whether it is, the look-up forgets the key and the store is asked again.
 */
export class KeyChanges {
  readonly #parts: KeyringParts;
  readonly #options: KeyringOptions;
  readonly #records: KeyRecords;
  readonly #lookup: KeyLookup;
  readonly #operations: Idempotency;
  readonly #counter: KeyCounter;
  readonly #serial: Serial;

  constructor(
    parts: KeyringParts,
    options: KeyringOptions,
    rooms: { records: KeyRecords; lookup: KeyLookup; operations: Idempotency; counter: KeyCounter },
  ) {
    this.#parts = parts;
    this.#options = options;
    this.#records = rooms.records;
    this.#lookup = rooms.lookup;
    this.#operations = rooms.operations;
    this.#counter = rooms.counter;
    this.#serial = new Serial(options.maxWaitingChangesPerKey);
  }

  async create(request: CreateKey): Promise<Result<KeyMade>> {
    const { tenant, purpose, algorithm, operation } = request;
    if (!isTenant(tenant) || !isPurpose(purpose)) {
      return refuse(
        'BadRequest',
        'tenant and purpose are 1 to 63 of a-z 0-9 . _ - and begin with a letter or digit',
      );
    }
    return this.#operations.once(tenant, operation, ['create', purpose, algorithm.name], {
      perform: (record) => {
        const { uuid = randomUUID() } = request;
        const id = formatId(tenant, purpose, algorithm, uuid);
        const kid = { id, tenant, purpose, algorithm, uuid };
        return request.uuid === undefined
          ? this.#createWithin(kid, request, record)
          : this.#serial.run(id, () => this.#createUnlessThere(kid, request, record));
      },
      repeat: (done) => this.#madeBefore(tenant, done),
    });
  }

  async rotate(request: RotateKey): Promise<Result<KeyMade>> {
    const kid = ownKid(request.tenant, request.kid);
    if (!kid.ok) return kid;
    return this.#operations.once(request.tenant, request.operation, ['rotate', request.kid], {
      perform: (record) => this.#serial.run(kid.value.id, () => this.#rotate(kid.value, request, record)),
      repeat: (done) => this.#madeBefore(request.tenant, done),
    });
  }

  async destroy(request: DestroyKey): Promise<Result<KeyDestroyed>> {
    const kid = ownKid(request.tenant, request.kid);
    if (!kid.ok) return kid;
    const version = kid.value.version ?? request.version;
    if (request.version !== undefined && request.version !== version) {
      return refuse('BadRequest', 'the kid names another version');
    }
    const { id } = kid.value;
    return this.#operations.once(request.tenant, request.operation, ['destroy', id, version ?? 0], {
      perform: (record) =>
        this.#serial.run(id, () =>
          version === undefined
            ? this.#destroyKey(kid.value, asking(request), record)
            : this.#destroyVersion(kid.value, version, asking(request), record),
        ),
      repeat: async (done) => ok({ kid: kidOf(done), replayed: true }),
    });
  }

  async #createUnlessThere(kid: Kid, request: CreateKey, record: RecordDone): Promise<Result<KeyMade>> {
    const there = await this.#records.head(kid.id);
    if (!there.ok) return there;
    if (there.value === undefined) return this.#createWithin(kid, request, record);
    if (there.value.record.state === 'destroyed') return destroyed;
    return this.#madeBefore(kid.tenant, { id: kid.id, version: 1 });
  }

  async #createWithin(kid: Kid, request: CreateKey, record: RecordDone): Promise<Result<KeyMade>> {
    const refused = this.#parts.room?.refusal(kid.tenant);
    if (refused !== undefined) return refused;
    const most = request.maxKeysPerTenant ?? this.#options.maxKeysPerTenant;
    const giveBack = this.#counter.place(kid.tenant, most);
    if (giveBack === undefined) return tooManyKeys;
    try {
      return await this.#create(kid, request, record);
    } finally {
      giveBack();
    }
  }

  async #create(kid: Kid, request: CreateKey, record: RecordDone): Promise<Result<KeyMade>> {
    const createdAtMs = this.#parts.clock.utcMs();
    const { id, tenant, purpose, algorithm } = kid;
    const { backend = softwareBackend } = request;
    const custody = this.#parts.custodies.get(backend);
    if (custody === undefined) return noSuchBackend;
    if (!custody.holds(algorithm)) return notHeld;
    const { given, policy } = request;
    if (given !== undefined && backend !== softwareBackend) return notTaken;
    const versionedKid = formatKid(id, 1);
    const adopted = policy?.adopt;
    if (adopted !== undefined && (given !== undefined || custody.adopt === undefined)) return adoptsNone;
    const parts = await (given?.make(versionedKid) ??
      (adopted === undefined
        ? custody.generate(algorithm, tenant, versionedKid)
        : custody.adopt?.(algorithm, tenant, versionedKid, adopted)) ??
      adoptsNone);
    if (!parts.ok) return parts;
    const version = firstWriting(id, 1, createdAtMs, parts.value, given?.source);
    const head: KeyHead = {
      id,
      tenant,
      purpose,
      alg: algorithm.name,
      state: 'active',
      currentVersion: 1,
      createdAtMs,
      revision: 1,
      backend,
      ...(request.auditDurability === undefined ? undefined : { auditDurability: request.auditDurability }),
      ...(request.usages === undefined ? undefined : { usages: request.usages }),
      ...(request.rotation === undefined
        ? undefined
        : { rotation: { ...request.rotation, sinceMs: createdAtMs } }),
      ...(policy === undefined ? undefined : { policy }),
    };
    const change = this.#counter.begin(head, 'created');
    const what = { kind: 'create', ...madeIn(version) } as const;
    const committed = await this.#commit(head, { ...what, ...asking(request) }, [
      this.#headChange(head, 0),
      this.#versionChange({ record: version, revision: 0 }),
      ...record({ id, version: 1 }),
    ]);
    change.end(committed.ok);
    if (!committed.ok) {
      if (given === undefined) await this.#discard(kid, version, custody);
      return committed;
    }
    this.#parts.room?.made(tenant);
    this.#lookup.changed(kid, head, version);
    this.#parts.onHead?.(head);
    return ok(made(kid, version, false));
  }

  async #rotate(kid: Kid, request: RotateKey, record: RecordDone): Promise<Result<KeyMade>> {
    const { given } = request;
    const read = await this.#readHead(kid);
    if (!read.ok) return read;
    const { record: before, revision } = read.value;
    if (before.state === 'destroyed') return destroyed;
    if (kid.version !== undefined && kid.version !== before.currentVersion) return stale;
    if (before.currentVersion >= this.#options.maxVersionsPerKey) return tooManyVersions;
    if (given !== undefined && before.backend !== softwareBackend) return notTaken;
    const number = before.currentVersion + 1;
    const { id, algorithm, tenant } = kid;
    const refused = this.#parts.room?.refusal(tenant);
    if (refused !== undefined) return refused;
    const custody = custodyOf(this.#parts, before.backend);
    if (!custody.ok) return custody;
    const current = await this.#records.version(kid, before.currentVersion);
    if (!current.ok) return current;
    const refusal = refusalOfNext(current.value?.record.source, given?.source);
    if (refusal !== undefined) return refusal;
    const versionedKid = formatKid(id, number);
    const parts = await (given?.make(versionedKid) ??
      custody.value.generate(algorithm, tenant, versionedKid));
    if (!parts.ok) return parts;
    const createdAtMs = this.#parts.clock.utcMs();
    const version = firstWriting(id, number, createdAtMs, parts.value, given?.source);
    const head: KeyHead = {
      ...before,
      ...{ currentVersion: number, revision: before.revision + 1 },
      ...(before.rotation === undefined
        ? undefined
        : { rotation: { ...before.rotation, sinceMs: createdAtMs } }),
    };
    const what = { kind: 'rotate', ...madeIn(version) } as const;
    const committed = await this.#commit(before, { ...what, ...asking(request) }, [
      this.#headChange(head, revision),
      this.#versionChange({ record: version, revision: 0 }),
      ...record({ id, version: number }),
    ]);
    if (!committed.ok) {
      if (given === undefined) await this.#discard(kid, version, custody.value);
      return committed;
    }
    this.#parts.room?.made(tenant);
    this.#lookup.changed(kid, head, version);
    this.#parts.onHead?.(head);
    return ok(made(kid, version, false));
  }

  async #destroyKey(kid: Kid, by: Asking, record: RecordDone): Promise<Result<KeyDestroyed>> {
    const { id } = kid;
    const read = await this.#readHead(kid);
    if (!read.ok) return read;
    const { record: before, revision } = read.value;
    if (before.state === 'destroyed') return this.#alreadyDone({ id }, record);
    const versions = await this.#records.versions(kid);
    if (!versions.ok) return versions;
    const head: KeyHead = { ...before, state: 'destroyed', revision: before.revision + 1 };
    const shredded = versions.value.map(({ record, revision }) => ({
      record: withoutPrivate(record),
      revision,
    }));
    const current = shredded.at(-1);
    if (shredded.length > before.currentVersion) {
      this.#lookup.forgetKey(before);
      return overtaken;
    }
    if (shredded.length < before.currentVersion || current === undefined) {
      return this.#records.corrupt(headKey(id));
    }
    const custody = custodyOf(this.#parts, before.backend);
    if (!custody.ok) return custody;
    const change = this.#counter.begin(before, 'destroyed');
    const what = { kind: 'destroy', version: 0, ...madeNothing } as const;
    const changes = [
      this.#headChange(head, revision),
      ...shredded.map((version) => this.#versionChange(version)),
      ...record({ id }),
    ];
    const committed = await this.#commit(before, { ...what, ...by }, changes, () =>
      custody.value.destroy(kid.tenant, versions.value.flatMap(privateVersion)),
    );
    change.end(committed.ok);
    if (!committed.ok) return committed;
    this.#lookup.forgetKey(before);
    this.#lookup.changed(kid, head, current.record);
    this.#parts.onHead?.(head);
    return ok({ kid: id, replayed: false });
  }

  async #destroyVersion(
    kid: Kid,
    number: number,
    by: Asking,
    record: RecordDone,
  ): Promise<Result<KeyDestroyed>> {
    const { id } = kid;
    const head = await this.#readHead(kid);
    if (!head.ok) return head;
    if (number > head.value.record.currentVersion) return refuse('NotFound');
    const version = await this.#records.version(kid, number);
    if (!version.ok) return version;
    if (version.value === undefined) return this.#records.corrupt(versionKey(id, number));
    const done = { id, version: number };
    if (version.value.record.state === 'destroyed') return this.#alreadyDone(done, record);
    if (number === head.value.record.currentVersion) return stillCurrent;
    const { record: found, revision } = version.value;
    const custody = custodyOf(this.#parts, head.value.record.backend);
    if (!custody.ok) return custody;
    const shredded = { record: withoutPrivate(found), revision };
    const what = { kind: 'destroy', version: number, ...madeNothing } as const;
    const changes = [this.#versionChange(shredded), ...record(done)];
    const committed = await this.#commit(head.value.record, { ...what, ...by }, changes, () =>
      custody.value.destroy(kid.tenant, privateVersion({ record: found })),
    );
    if (!committed.ok) return committed;
    this.#lookup.forgetVersions(id, [number]);
    return ok({ kid: kidOf(done), replayed: false });
  }

  /** Nothing to change, but the op_id is taken from now on. */
  async #alreadyDone(done: Done, record: RecordDone): Promise<Result<KeyDestroyed>> {
    const changes = record(done);
    if (changes.length > 0) {
      const committed = await this.#parts.store.commit(changes);
      if (!committed.ok) return committed;
      if (!committed.value.committed) return overtaken;
    }
    return ok({ kid: kidOf(done), replayed: true });
  }

  async #madeBefore(tenant: string, done: Done): Promise<Result<KeyMade>> {
    const kid = ownKid(tenant, kidOf(done));
    if (!kid.ok) return kid;
    const version = await this.#records.version(kid.value, kid.value.version ?? 1);
    if (!version.ok) return version;
    if (version.value === undefined) return this.#records.corrupt(headKey(done.id));
    return ok(made(kid.value, version.value.record, true));
  }

  async #readHead(kid: Kid): Promise<Result<Revised<KeyHead>>> {
    const head = await this.#records.head(kid.id);
    if (!head.ok) return head;
    return head.value === undefined ? refuse('NotFound') : ok(head.value);
  }

  /**
   * Written down first, then done. `atHome`: what the custody does before the records follow, so that a call that is cut off
   * between the two can be made again.
   */
  async #commit(
    before: KeyHead,
    change: Pick<KeyChange, 'kind' | 'version' | 'publicKeySha256' | 'source'> & Asking,
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
  async #discard(kid: Kid, made: KeyVersion, custody: PrivateParts): Promise<void> {
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

  #headChange(head: KeyHead, expectedRevision: number): Change {
    return { key: headKey(head.id), value: encodeHead(head, this.#parts.mac), expectedRevision };
  }

  #versionChange({ record, revision }: Revised<KeyVersion>): Change {
    return {
      key: versionKey(record.id, record.version),
      value: encodeVersion(record, this.#parts.mac),
      expectedRevision: revision,
    };
  }
}

function firstWriting(
  id: string,
  version: number,
  createdAtMs: number,
  parts: readonly KeyPart[],
  source: KeySource | undefined,
): KeyVersion {
  return { id, version, state: 'active', createdAtMs, revision: 1, ...(source && { source }), parts };
}

const madeNothing = { publicKeySha256: undefined, source: undefined } as const;

function madeIn({ version, parts, source }: KeyVersion) {
  return { version, publicKeySha256: publicKeySha256(parts), source } as const;
}

const isDerived = refuse('Conflict', 'a derived key has one version: derive another with another epoch');
const isPublic = refuse('Conflict', 'only public keys follow an imported public key, by an import');
const isPrivate = refuse(
  'Conflict',
  'a public key alone does not follow a version that has its private key here',
);

/** The source of the version that is current, and of the one that is to follow it. */
function refusalOfNext(current: KeySource | undefined, next: KeySource | undefined): Refused | undefined {
  if (current?.kind === 'derived') return isDerived;
  if (isPublicOnly(current) === isPublicOnly(next)) return undefined;
  return isPublicOnly(current) ? isPublic : isPrivate;
}

/**
 * Shreds the private parts: what custody sealed is in no record any more. A store may keep the old bytes in free pages
 * until it uses them again or is compacted; there they are sealed under the root key.
 */
function withoutPrivate(version: KeyVersion): KeyVersion {
  return {
    ...version,
    state: 'destroyed',
    revision: version.revision + 1,
    parts: version.parts.map(({ publicKey }) => ({ publicKey })),
  };
}

/** None where they are gone already. */
function privateVersion({ record }: Pick<Revised<KeyVersion>, 'record'>): PrivateVersion[] {
  const { id, version, state, parts, source } = record;
  return state === 'destroyed' || isPublicOnly(source) ? [] : [{ kid: formatKid(id, version), parts }];
}

function made(kid: Kid, version: KeyVersion, replayed: boolean): KeyMade {
  return {
    kid: formatKid(kid.id, version.version),
    ...(version.version === 1 ? undefined : { previous: formatKid(kid.id, version.version - 1) }),
    algorithm: kid.algorithm,
    createdAtMs: version.createdAtMs,
    publicKeys: version.parts.map((part) => part.publicKey),
    replayed,
  };
}

function kidOf(done: Done): string {
  return done.version === undefined ? done.id : formatKid(done.id, done.version);
}

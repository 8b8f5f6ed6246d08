import { randomUUID } from 'node:crypto';
import type { Algorithm } from '../algorithms/descriptor.ts';
import { ok, type Refused, type Result, refuse, refuseByState } from '../core/result.ts';
import type { Change } from '../store/store.ts';
import { publicKeySha256 } from './authenticity.ts';
import { headKey, versionKey } from './codec.ts';
import {
  type Asking,
  asking,
  factsOfPlaced,
  type KeyCommits,
  leavingPool,
  madeNothing,
  overtaken,
  privateVersion,
  replacedBy,
  withoutPrivate,
} from './commits.ts';
import type { KeyCounter } from './counter.ts';
import type { Done, Idempotency } from './idempotency.ts';
import type {
  CreateKey,
  DestroyKey,
  KeyDestroyed,
  KeyMade,
  KeyringOptions,
  KeyringParts,
  PrivateParts,
  RotateKey,
} from './keyring.ts';
import { formatId, formatKid, isPurpose, isTenant, type Kid } from './kid.ts';
import type { KeyIds } from './lifecycle/key-ids.ts';
import type { StateCounter } from './lifecycle/state-counter.ts';
import { custodyOf, type KeyLookup, ownKid } from './lookup.ts';
import {
  isPublicOnly,
  type KeyHead,
  type KeyPart,
  type KeySource,
  type KeyVersion,
  softwareBackend,
} from './record.ts';
import type { KeyRecords } from './records.ts';

type RecordDone = (done: Done) => readonly Change[];

const destroyed = refuseByState('destroyed', 'the key is destroyed');
const stale = refuseByState('inactive', 'this is not the current version');
const archived = refuseByState('inactive', 'the key is archived, or past its end');
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
  readonly #commits: KeyCommits;
  readonly #ids: KeyIds;
  readonly #states: StateCounter;

  constructor(
    parts: KeyringParts,
    options: KeyringOptions,
    rooms: {
      records: KeyRecords;
      lookup: KeyLookup;
      operations: Idempotency;
      counter: KeyCounter;
      commits: KeyCommits;
      ids: KeyIds;
      states: StateCounter;
    },
  ) {
    this.#parts = parts;
    this.#options = options;
    this.#records = rooms.records;
    this.#lookup = rooms.lookup;
    this.#operations = rooms.operations;
    this.#counter = rooms.counter;
    this.#commits = rooms.commits;
    this.#ids = rooms.ids;
    this.#states = rooms.states;
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
          ? this.#createAlone(kid, request, record)
          : this.#commits.serial.run(id, () => this.#createUnlessThere(kid, request, record));
      },
      repeat: (done) => this.#madeBefore(tenant, done),
    });
  }

  async rotate(request: RotateKey): Promise<Result<KeyMade>> {
    const kid = ownKid(request.tenant, request.kid);
    if (!kid.ok) return kid;
    return this.#operations.once(request.tenant, request.operation, ['rotate', request.kid], {
      perform: (record) =>
        this.#commits.serial.run(kid.value.id, () => this.#rotate(kid.value, request, record)),
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
        this.#commits.serial.run(id, () =>
          version === undefined
            ? this.#destroyKey(kid.value, asking(request), record)
            : this.#destroyVersion(kid.value, version, asking(request), record),
        ),
      repeat: async (done) => ok({ kid: kidOf(done), replayed: true }),
    });
  }

  /** Those that want one alias come one after the other. */
  #createAlone(kid: Kid, request: CreateKey, record: RecordDone): Promise<Result<KeyMade>> {
    const { placement, alias } = request;
    if (placement === undefined || alias === undefined) return this.#createWithin(kid, request, record);
    return this.#commits.serial.run(this.#ids.aliasNamed(kid, placement, alias), () =>
      this.#createWithin(kid, request, record),
    );
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
    const named = await this.#ids.changeForAlias(kid, request.placement, request.alias);
    if (!named.ok) return named;
    const disagreed = await request.agreed?.();
    if (disagreed !== undefined) return disagreed;
    const adopted = policy?.adopt;
    if (adopted !== undefined && (given !== undefined || custody.adopt === undefined)) return adoptsNone;
    const parts = await (given?.make(versionedKid) ??
      (adopted === undefined
        ? this.#generate(custody, algorithm, tenant, versionedKid)
        : custody.adopt?.(algorithm, tenant, versionedKid, adopted)) ??
      adoptsNone);
    if (!parts.ok) return parts;
    const placed = placedIn(request);
    const version = {
      ...firstWriting(id, 1, createdAtMs, parts.value, given?.source),
      ...(placed && { keyId: kid.uuid }),
    };
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
      ...placed,
    };
    const change = this.#counter.begin(head, 'created');
    const what = { kind: 'create', ...madeIn(version), facts: factsOfPlaced(head, version) } as const;
    const committed = await this.#commits.commit(head, { ...what, ...asking(request) }, [
      this.#commits.headChange(head, 0),
      this.#commits.versionChange({ record: version, revision: 0 }),
      ...this.#ids.changeFor(kid, version),
      ...leavingPool(parts.value),
      ...named.value,
      ...record({ id, version: 1 }),
    ]);
    change.end(committed.ok);
    if (!committed.ok) {
      if (given === undefined) await this.#commits.discard(kid, version, custody);
      return committed;
    }
    this.#parts.room?.made(tenant);
    this.#lookup.changed(kid, head, version);
    this.#parts.onHead?.(head);
    this.#states.heard(head, version);
    return ok(made(kid, version, false));
  }

  async #rotate(kid: Kid, request: RotateKey, record: RecordDone): Promise<Result<KeyMade>> {
    const { given } = request;
    const read = await this.#commits.readHead(kid);
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
    const { validUntilMs = Number.POSITIVE_INFINITY } = before;
    const isOver = this.#parts.clock.utcMs() >= validUntilMs;
    if (isOver || current.value?.record.archivedAtMs !== undefined) return archived;
    const disagreed = await request.agreed?.();
    if (disagreed !== undefined) return disagreed;
    const versionedKid = formatKid(id, number);
    const parts = await (given?.make(versionedKid) ??
      this.#generate(custody.value, algorithm, tenant, versionedKid));
    if (!parts.ok) return parts;
    const createdAtMs = this.#parts.clock.utcMs();
    const version = {
      ...firstWriting(id, number, createdAtMs, parts.value, given?.source),
      ...(before.placement && { keyId: randomUUID() }),
    };
    const replaced = before.placement && current.value && replacedBy(current.value, createdAtMs);
    const head: KeyHead = {
      ...before,
      ...{ currentVersion: number, revision: before.revision + 1 },
      ...(before.rotation === undefined
        ? undefined
        : { rotation: { ...before.rotation, sinceMs: createdAtMs } }),
    };
    const what = { kind: 'rotate', ...madeIn(version), facts: factsOfPlaced(head, version) } as const;
    const committed = await this.#commits.commit(before, { ...what, ...asking(request) }, [
      this.#commits.headChange(head, revision),
      this.#commits.versionChange({ record: version, revision: 0 }),
      ...(replaced === undefined ? [] : [this.#commits.versionChange(replaced)]),
      ...this.#ids.changeFor(kid, version),
      ...leavingPool(parts.value),
      ...record({ id, version: number }),
    ]);
    if (!committed.ok) {
      if (given === undefined) await this.#commits.discard(kid, version, custody.value);
      return committed;
    }
    this.#parts.room?.made(tenant);
    if (replaced !== undefined) {
      this.#lookup.forgetVersions(id, [before.currentVersion]);
      this.#states.heard(head, replaced.record);
    }
    this.#lookup.changed(kid, head, version);
    this.#parts.onHead?.(head);
    this.#states.heard(head, version);
    return ok(made(kid, version, false));
  }

  /** A key that lies ready, or else a new one. */
  async #generate(
    custody: PrivateParts,
    algorithm: Algorithm,
    tenant: string,
    versionedKid: string,
  ): Promise<Result<readonly KeyPart[]>> {
    const ready = custody.backend === softwareBackend ? await this.#parts.pool?.take(algorithm) : undefined;
    return ready === undefined ? custody.generate(algorithm, tenant, versionedKid) : ok([ready]);
  }

  async #destroyKey(kid: Kid, by: Asking, record: RecordDone): Promise<Result<KeyDestroyed>> {
    const { id } = kid;
    const read = await this.#commits.readHead(kid);
    if (!read.ok) return read;
    const { record: before, revision } = read.value;
    // Of a key with a placement the current version can be destroyed alone.
    if (before.state === 'destroyed' && before.placement === undefined)
      return this.#alreadyDone({ id }, record);
    const versions = await this.#records.versions(kid);
    if (!versions.ok) return versions;
    if (before.state === 'destroyed' && versions.value.every(({ record }) => record.state === 'destroyed'))
      return this.#alreadyDone({ id }, record);
    const head: KeyHead = { ...before, state: 'destroyed', revision: before.revision + 1 };
    const shredded = versions.value.map(({ record, revision }) => ({
      // A version that is destroyed already is as it was; the commit expects it to be so.
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
    const change = before.state === 'active' ? this.#counter.begin(before, 'destroyed') : undefined;
    const what = { kind: 'destroy', version: 0, ...madeNothing, facts: factsOfPlaced(before) } as const;
    const changes = [
      this.#commits.headChange(head, revision),
      ...shredded.map((version) => this.#commits.versionChange(version)),
      ...record({ id }),
    ];
    const committed = await this.#commits.commit(before, { ...what, ...by }, changes, () =>
      custody.value.destroy(kid.tenant, versions.value.flatMap(privateVersion)),
    );
    change?.end(committed.ok);
    if (!committed.ok) return committed;
    this.#lookup.forgetKey(before);
    this.#lookup.changed(kid, head, current.record);
    this.#parts.onHead?.(head);
    for (const { record } of shredded) this.#states.heard(head, record);
    return ok({ kid: id, replayed: false });
  }

  async #destroyVersion(
    kid: Kid,
    number: number,
    by: Asking,
    record: RecordDone,
  ): Promise<Result<KeyDestroyed>> {
    const { id } = kid;
    const head = await this.#commits.readHead(kid);
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
    const facts = factsOfPlaced(head.value.record, found);
    const what = { kind: 'destroy', version: number, ...madeNothing, facts } as const;
    const changes = [this.#commits.versionChange(shredded), ...record(done)];
    const committed = await this.#commits.commit(head.value.record, { ...what, ...by }, changes, () =>
      custody.value.destroy(kid.tenant, privateVersion({ record: found })),
    );
    if (!committed.ok) return committed;
    this.#lookup.forgetVersions(id, [number]);
    this.#states.heard(head.value.record, shredded.record);
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

/** What only keys with a placement have; undefined of others. */
function placedIn({ placement, alias, validUntilMs, access }: CreateKey) {
  if (placement === undefined) return undefined;
  return {
    placement,
    ...(alias === undefined ? undefined : { alias }),
    ...(validUntilMs === undefined ? undefined : { validUntilMs }),
    ...(access === undefined ? undefined : { access }),
  };
}

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

function made(kid: Kid, version: KeyVersion, replayed: boolean): KeyMade {
  return {
    kid: formatKid(kid.id, version.version),
    ...(version.version === 1 ? undefined : { previous: formatKid(kid.id, version.version - 1) }),
    algorithm: kid.algorithm,
    createdAtMs: version.createdAtMs,
    publicKeys: version.parts.map((part) => part.publicKey),
    ...(version.keyId === undefined ? undefined : { keyId: version.keyId }),
    replayed,
  };
}

function kidOf(done: Done): string {
  return done.version === undefined ? done.id : formatKid(done.id, done.version);
}

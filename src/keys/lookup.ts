import type { Algorithm } from '../algorithms/descriptor.ts';
import { oldVersionsUseSecret } from '../algorithms/work-kinds.ts';
import { BoundedCache } from '../core/bounded-cache.ts';
import { ok, type Result, refuse } from '../core/result.ts';
import { headKey } from './codec.ts';
import type {
  KeyHandle,
  KeyringOptions,
  KeyringParts,
  LoadedPart,
  LoadedVersion,
  PrivateParts,
} from './keyring.ts';
import { formatKid, type Kid, parseKid } from './kid.ts';
import { type KeyHead, type KeyVersion, lifecycleIn } from './record.ts';
import type { KeyRecords } from './records.ts';

/** The known state of a key: its head, and its current version ready for use. */
interface CachedKey {
  readonly kid: Kid;
  readonly head: KeyHead;
  /** With the current version; made once, so that a hit allocates nothing. A refusal: its custody is not here. */
  readonly found: Result<KeyHandle>;
}

interface Load {
  readonly id: string;
  /** The key has changed since the records were read. */
  stale: boolean;
}

/** Ids that do not exist are remembered for a moment, so that a client that repeats a mistake costs no store access. */
const maxMissing = 4_096;
const missingKeptMs = 2_000;
/** Reads from the store that are under way; with an embedded store a handful, so that many mean that it hangs. */
const maxLoads = 4_096;
const maxKeyNumber = 2 ** 32 - 1;
const noReference = new Uint8Array();

const notFound = refuse('NotFound');
const badKid = refuse('BadRequest', 'a kid is <tenant>/<purpose>/<alg>/<uuid>, optionally with #v<N>');

/** One counter for the process: engines outlive keyrings, and a number must never mean two keys. */
let lastKeyNumber = 0;

function nextKeyNumber(): number {
  if (lastKeyNumber === maxKeyNumber) return 0;
  lastKeyNumber += 1;
  return lastKeyNumber;
}

/** The kid in this text if it belongs to the tenant; for everybody else it does not exist. */
export function ownKid(tenant: string, text: string): Result<Kid> {
  const kid = parseKid(text);
  if (kid === undefined) return badKid;
  return kid.tenant === tenant ? ok(kid) : notFound;
}

const notHere = refuse('StoreUnavailable', 'the key is held by a backend that this service does not have');

/** The custody of this name. Another name refuses the keys that have it, and no others. */
export function custodyOf({ custodies }: KeyringParts, backend: string): Result<PrivateParts> {
  const custody = custodies.get(backend);
  return custody === undefined ? notHere : ok(custody);
}

/** Finds versions of keys: in memory, or in the store. Changes tell it what they did once it is durable. */
export class KeyLookup {
  readonly #parts: KeyringParts;
  readonly #records: KeyRecords;
  readonly #keys: BoundedCache<string, CachedKey>;
  readonly #oldVersions: BoundedCache<string, LoadedVersion>;
  /** Value: until when, monotonic milliseconds. */
  readonly #missing = new BoundedCache<string, number>(maxMissing);
  readonly #loads = new Map<string, Load & { readonly done: Promise<Result<unknown>> }>();

  constructor(parts: KeyringParts, records: KeyRecords, options: KeyringOptions) {
    this.#parts = parts;
    this.#records = records;
    this.#keys = new BoundedCache(options.maxCachedKeys, (key) => {
      if (key.found.ok) this.#forget(key.found.value.version);
    });
    this.#oldVersions = new BoundedCache(options.maxCachedOldVersions, (version) => this.#forget(version));
  }

  find(tenant: string, text: string): Result<KeyHandle> | Promise<Result<KeyHandle>> {
    const hash = text.indexOf('#');
    const cached = this.#keys.get(hash < 0 ? text : text.slice(0, hash));
    if (cached !== undefined) {
      if (cached.head.tenant !== tenant) return notFound;
      const { found } = cached;
      if (hash < 0 || !found.ok || text === found.value.version.kid) return found;
      const version = this.#oldVersions.get(text);
      if (version !== undefined) return ok(oldHandle(cached, version));
    }
    const kid = ownKid(tenant, text);
    if (!kid.ok) return kid;
    if (cached === undefined && this.#isMissing(kid.value.id)) return notFound;
    return this.#findInStore(kid.value, text, cached);
  }

  /** The key is now like this. Handles that were given out before stay as they are; later ones have this version. */
  changed(kid: Kid, head: KeyHead, version: KeyVersion): void {
    this.#invalidate(kid.id);
    this.#missing.delete(kid.id);
    this.#keys.set(kid.id, this.#load(kid, head, version));
  }

  /** The known state of these versions, which are not the current one, is no longer true. */
  forgetVersions(id: string, versions: Iterable<number>): void {
    this.#invalidate(id);
    for (const version of versions) this.#oldVersions.delete(formatKid(id, version));
  }

  /** Nothing is certain of this key any more; the store knows. */
  forgetKey(head: KeyHead): void {
    this.forgetVersions(
      head.id,
      Array.from({ length: head.currentVersion }, (_, index) => index + 1),
    );
    this.#keys.delete(head.id);
  }

  /** Everything is read again. Handles that were given out before stay as they are. */
  refresh(): void {
    for (const load of this.#loads.values()) load.stale = true;
    this.#keys.clear();
    this.#oldVersions.clear();
  }

  clear(): void {
    this.#keys.clear();
    this.#oldVersions.clear();
    this.#missing.clear();
  }

  async #findInStore(kid: Kid, text: string, cached: CachedKey | undefined): Promise<Result<KeyHandle>> {
    let key = cached;
    if (key === undefined) {
      const loaded = await this.#once(kid.id, kid.id, (load) => this.#loadKey(kid, load));
      if (!loaded.ok) return loaded;
      key = loaded.value;
    }
    const { found, head } = key;
    if (!found.ok) return found;
    if (kid.version === undefined || kid.version === head.currentVersion) return found;
    if (kid.version > head.currentVersion) return notFound;
    const number = kid.version;
    const version = await this.#once(text, kid.id, (load) =>
      this.#loadOldVersion(kid, number, head.backend, load),
    );
    return version.ok ? ok(oldHandle(key, version.value)) : version;
  }

  async #loadKey(kid: Kid, load: Load): Promise<Result<CachedKey>> {
    for (;;) {
      const read = await this.#records.current(kid);
      if (load.stale) {
        // A change meanwhile has most likely left the new state here.
        load.stale = false;
        const cached = this.#keys.get(kid.id);
        if (cached !== undefined) return ok(cached);
        continue;
      }
      if (!read.ok) return read;
      if (read.value === undefined) {
        this.#missing.set(kid.id, this.#parts.clock.monotonicMs() + missingKeptMs);
        return notFound;
      }
      const key = this.#load(kid, read.value.head, read.value.version);
      this.#keys.set(kid.id, key);
      return ok(key);
    }
  }

  async #loadOldVersion(
    kid: Kid,
    number: number,
    backend: string,
    load: Load,
  ): Promise<Result<LoadedVersion>> {
    for (;;) {
      const read = await this.#records.version(kid, number);
      if (load.stale) {
        load.stale = false;
        continue;
      }
      if (!read.ok) return read;
      // Versions have no gaps and records are never removed.
      if (read.value === undefined) return this.#records.corrupt(formatKid(kid.id, number));
      const custody = custodyOf(this.#parts, backend);
      if (!custody.ok) return custody;
      const usesSecret = oldVersionsUseSecret(kid.algorithm.kind);
      const version = this.#loadVersion(kid, read.value.record, custody.value, usesSecret);
      this.#oldVersions.set(version.kid, version);
      return ok(version);
    }
  }

  /** One read for all who ask for the same thing meanwhile. */
  async #once<T>(name: string, id: string, read: (load: Load) => Promise<Result<T>>): Promise<Result<T>> {
    const underWay = this.#loads.get(name);
    if (underWay !== undefined) return underWay.done as Promise<Result<T>>;
    if (this.#loads.size >= maxLoads) return refuse('Backpressure', undefined, 1_000);
    const load: Load = { id, stale: false };
    const done = read(load);
    this.#loads.set(name, Object.assign(load, { done }));
    try {
      return await done;
    } finally {
      this.#loads.delete(name);
    }
  }

  #invalidate(id: string): void {
    for (const load of this.#loads.values()) {
      if (load.id === id) load.stale = true;
    }
  }

  #isMissing(id: string): boolean {
    const until = this.#missing.get(id);
    if (until === undefined) return false;
    if (this.#parts.clock.monotonicMs() < until) return true;
    this.#missing.delete(id);
    return false;
  }

  #load(kid: Kid, head: KeyHead, current: KeyVersion): CachedKey {
    const custody = custodyOf(this.#parts, head.backend);
    if (!custody.ok) {
      this.#parts.onUnknownBackend(headKey(kid.id), head.backend);
      return { kid, head, found: custody };
    }
    const active = head.state === 'active';
    const version = this.#loadVersion(kid, current, custody.value, active);
    return {
      kid,
      head,
      found: {
        ok: true,
        value: {
          ...{ head, algorithm: kid.algorithm, version },
          current: active && current.archivedAtMs === undefined,
        },
      },
    };
  }

  #loadVersion(kid: Kid, record: KeyVersion, custody: PrivateParts, usesSecret: boolean): LoadedVersion {
    const versionedKid = formatKid(kid.id, record.version);
    const parts = record.parts.map(
      (part, index): LoadedPart => ({
        component: kid.algorithm.components[index]!,
        // Nothing is done with a destroyed version, so it needs no number.
        keyNumber: record.state === 'active' ? nextKeyNumber() : 0,
        publicKey: part.publicKey,
        home: custody.backend,
        keyReference: usesSecret ? custody.keyReference(part, index, kid.tenant, versionedKid) : noReference,
      }),
    );
    const { version, state, createdAtMs, source } = record;
    const loaded = { kid: versionedKid, version, state, createdAtMs, source, parts };
    return record.keyId === undefined ? loaded : { ...loaded, ...lifecycleIn(record) };
  }

  #forget(version: LoadedVersion): void {
    for (const { keyNumber } of version.parts) {
      if (keyNumber !== 0) this.#parts.onForget(keyNumber);
    }
  }
}

function oldHandle(key: CachedKey, version: LoadedVersion): KeyHandle {
  const algorithm: Algorithm = key.kid.algorithm;
  return { head: key.head, algorithm, version, current: false };
}

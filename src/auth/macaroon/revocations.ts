import type { Clock } from '../../core/clock.ts';
import { isName } from '../../core/name.ts';
import { ok, type Result, refuse } from '../../core/result.ts';
import type { Store, StoreEntry } from '../../store/store.ts';
import type { Revocation } from '../tokens.ts';

/** The facts by which a capability can be revoked. */
export interface RevocableFacts {
  readonly tenant: string;
  readonly actor: string;
  readonly rootKeyId: number;
  readonly issuedAtMs: number;
}

/** The capabilities that do not hold any more. */
export interface Revocations {
  /** Grows with every change. */
  readonly generation: number;
  revokes(capability: RevocableFacts): boolean;
}

export const revokesNothing: Revocations = { generation: 0, revokes: () => false };

const prefix = 'auth/revoked/';
const any = '*';
/** About 150 bytes each in memory. More than these are revoked by tenant, by time or by root key. */
const maxActors = 100_000;
/** A tenant revokes pseudonyms that were never made, too. */
const maxActorsOfTenant = 10_000;
/** Tenants and root keys. */
const maxOthers = 100_000;
const pageEntries = 1_000;
/** Longer than clocks may differ. */
const graceMs = 10 * 60_000;
const tooMany = refuse('Conflict', 'too many revocations: revoke by tenant, by issued_before or by root key');

interface Stored {
  readonly at_ms: number;
  readonly expires_at_ms?: number;
  readonly before_ms?: number;
}

/**
 * Revocations in the store, all of them in memory as well; the store's watch tells of the commits of other writers.
 * A writer of the store can take one back, as docs/capabilities.md says.
 */
export class StoreRevocations implements Revocations {
  generation = 0;
  readonly #store: Store;
  readonly #clock: Clock;
  /** `<tenant or *>/<actor>`, and until when it is needed. */
  readonly #actors = new Map<string, number>();
  /** The number of those, by tenant or `*`. */
  readonly #actorsOf = new Map<string, number>();
  readonly #rootKeys = new Set<number>();
  /** By tenant, or `*`. */
  readonly #before = new Map<string, number>();
  #unwatch = () => {};
  #turn: Promise<unknown> = Promise.resolve();

  private constructor(store: Store, clock: Clock) {
    this.#store = store;
    this.#clock = clock;
  }

  /** Refused where the store cannot be read, or holds what is no revocation: better no service than one that forgets. */
  static async open(store: Store, clock: Clock): Promise<Result<StoreRevocations>> {
    const opened = new StoreRevocations(store, clock);
    opened.#unwatch = store.watch(prefix, (change) => void opened.#take(change));
    let after: string | undefined;
    for (;;) {
      const page = await store.list({
        prefix,
        limit: pageEntries,
        ...(after === undefined ? undefined : { after }),
      });
      if (!page.ok) return page;
      for (const entry of page.value) if (!opened.#take(entry)) return refuse('Internal', entry.key);
      after = page.value.at(-1)?.key;
      if (page.value.length < pageEntries) return ok(opened);
    }
  }

  revokes({ tenant, actor, rootKeyId, issuedAtMs }: RevocableFacts): boolean {
    return (
      this.#rootKeys.has(rootKeyId) ||
      this.#actors.has(`${tenant}/${actor}`) ||
      this.#actors.has(`${any}/${actor}`) ||
      issuedAtMs <= (this.#before.get(tenant) ?? -1) ||
      issuedAtMs <= (this.#before.get(any) ?? -1)
    );
  }

  revokesRootKey(id: number): boolean {
    return this.#rootKeys.has(id);
  }

  /** On disk, and in force, when it resolves. Doing it twice changes nothing. One after the other, so that no time goes back. */
  revoke(revocation: Revocation): Promise<Result<void>> {
    const revoked = this.#turn.then(() => this.#revoke(revocation));
    this.#turn = revoked.catch(() => undefined);
    return revoked;
  }

  async #revoke(revocation: Revocation): Promise<Result<void>> {
    if (this.#isFull(revocation)) return tooMany;
    const atMs = this.#clock.utcMs();
    const stored: Stored = { at_ms: atMs, ...factsOf(revocation) };
    const key = keyOf(revocation);
    if (revocation.by === 'issued_before') {
      // An earlier time would take back some of what holds.
      const before = this.#before.get(revocation.tenant ?? any) ?? -1;
      if (before >= revocation.beforeMs) return ok(undefined);
    }
    const committed = await this.#store.commit([{ key, value: Buffer.from(JSON.stringify(stored)) }]);
    if (!committed.ok) return committed;
    this.#take({ key, value: Buffer.from(JSON.stringify(stored)) });
    return ok(undefined);
  }

  #isFull(revocation: Revocation): boolean {
    if (revocation.by !== 'actor') return this.#rootKeys.size + this.#before.size >= maxOthers;
    const tenant = revocation.tenant ?? any;
    // What is there already takes no more room.
    if (this.#actors.has(`${tenant}/${revocation.actor}`)) return false;
    const own = this.#actorsOf.get(tenant) ?? 0;
    return this.#actors.size >= maxActors || (tenant !== any && own >= maxActorsOfTenant);
  }

  /** Removes revocations of capabilities that have expired. Those of root keys stay: a removed file may come back. */
  async prune(): Promise<void> {
    const untilMs = this.#clock.utcMs() - graceMs;
    const keys: string[] = [];
    for (const [name, expiresAtMs] of this.#actors) {
      if (expiresAtMs < untilMs) keys.push(`${prefix}actor/${name}`);
    }
    for (let at = 0; at < keys.length; at += pageEntries) {
      const changes = keys.slice(at, at + pageEntries).map((key) => ({ key, value: undefined }));
      const committed = await this.#store.commit(changes);
      if (!committed.ok) return;
      for (const change of changes) this.#take(change);
    }
  }

  /** The numbers of revocations by kind. */
  counts(): { readonly actors: number; readonly root_keys: number; readonly issued_before: number } {
    return { actors: this.#actors.size, root_keys: this.#rootKeys.size, issued_before: this.#before.size };
  }

  close(): void {
    this.#unwatch();
  }

  /** True if it is a revocation. */
  #take({ key, value }: Pick<StoreEntry, 'key'> & { readonly value: Uint8Array | undefined }): boolean {
    const [, kind = '', name = ''] = /^auth\/revoked\/([a-z_]+)\/(.+)$/.exec(key) ?? [];
    const stored = value === undefined ? undefined : read(value);
    if (value !== undefined && stored === undefined) return false;
    this.generation++;
    if (kind === 'actor') {
      const before = this.#actors.size;
      if (stored === undefined) this.#actors.delete(name);
      else this.#actors.set(name, stored.expires_at_ms ?? Number.POSITIVE_INFINITY);
      const tenant = name.split('/', 1)[0] as string;
      this.#actorsOf.set(tenant, (this.#actorsOf.get(tenant) ?? 0) + this.#actors.size - before);
    } else if (kind === 'root_key' && /^[0-9]{1,10}$/.test(name)) {
      if (stored === undefined) this.#rootKeys.delete(Number(name));
      else this.#rootKeys.add(Number(name));
    } else if (kind === 'issued_before' && (name === any || isName(name))) {
      if (stored === undefined) this.#before.delete(name);
      else if (stored.before_ms === undefined) return false;
      else this.#before.set(name, stored.before_ms);
    } else {
      return false;
    }
    return true;
  }
}

function keyOf(revocation: Revocation): string {
  switch (revocation.by) {
    case 'actor':
      return `${prefix}actor/${revocation.tenant ?? any}/${revocation.actor}`;
    case 'root_key':
      return `${prefix}root_key/${revocation.rootKeyId}`;
    case 'issued_before':
      return `${prefix}issued_before/${revocation.tenant ?? any}`;
  }
}

function factsOf(revocation: Revocation): Partial<Stored> {
  if (revocation.by === 'issued_before') return { before_ms: revocation.beforeMs };
  const expiresAtMs = revocation.by === 'actor' ? revocation.expiresAtMs : undefined;
  return expiresAtMs === undefined || !Number.isFinite(expiresAtMs) ? {} : { expires_at_ms: expiresAtMs };
}

function read(value: Uint8Array): Stored | undefined {
  try {
    const stored = JSON.parse(Buffer.from(value).toString()) as Partial<Stored>;
    const times = [stored.at_ms, stored.expires_at_ms ?? 0, stored.before_ms ?? 0];
    return times.every((time) => Number.isFinite(time)) ? (stored as Stored) : undefined;
  } catch {
    return undefined;
  }
}

import { randomUUID } from 'node:crypto';
import type { Algorithm } from '../../algorithms/descriptor.ts';
import { findAlgorithm } from '../../algorithms/registry.ts';
import { decodeBase64, encodeBase64 } from '../../core/bytes.ts';
import type { Clock } from '../../core/clock.ts';
import type { Result } from '../../core/result.ts';
import { pooledName, poolTenant } from '../../engine/key-reference.ts';
import { authenticated, openAuthenticated, type RecordMac } from '../../keys/authenticity.ts';
import { poolPrefix } from '../../keys/codec.ts';
import type { KeyPool } from '../../keys/keyring.ts';
import type { KeyPart } from '../../keys/record.ts';
import type { Store, StoreEntry } from '../../store/store.ts';

/** Told what becomes of keys of the pool; for metrics. */
export interface KeyPoolObserver {
  made(): void;
  taken(): void;
  /** A key was asked for, and none was there. */
  missed(): void;
}

export interface SoftwareKeyPoolParts {
  readonly store: Store;
  readonly mac: RecordMac;
  readonly clock: Pick<Clock, 'monotonicMs'>;
  /** Makes the keys of a version; the name stands in the place of a kid. */
  readonly generate: (
    algorithm: Algorithm,
    tenant: string,
    name: string,
  ) => Promise<Result<readonly KeyPart[]>>;
  /** Nothing waits for a worker and none has anything to do. */
  readonly idle: () => boolean;
  /** The number of keys that are to lie ready. */
  readonly target: number;
  readonly observer: KeyPoolObserver;
  /** For the operator's log: this entry cannot be read, or is not authentic. Must not throw. */
  readonly onCorruptEntry: (storeKey: string) => void;
}

/** Workers that have had nothing to do for so long are idle, and not only between two requests. */
const idleForMs = 200;
/** A key takes 50 ms and more to make; looking takes microseconds. */
const lookEveryMs = 20;
/** A change takes a second at the most, or fails. What no change has taken by then lies ready again. */
const leaseMs = 60_000;
const maxBytes = 16 * 1024;
const pageEntries = 500;

/**
 * RSA-2048 keys that were made while there was nothing else to do, sealed in the store like all others. One leaves it in the same commit
 * in which a key's record takes it, which expects its entry there: so no two keys ever have it, whatever ends the process and when.
 */
export class SoftwareKeyPool implements KeyPool {
  readonly #parts: SoftwareKeyPoolParts;
  readonly #algorithm = findAlgorithm('rsa-2048') as Algorithm;
  /** Names of those that lie ready. */
  readonly #ready: string[] = [];
  /** Given to a change that is under way, since when. */
  readonly #out = new Map<string, number>();
  #making: Promise<void> | undefined;
  #idleSinceMs: number | undefined;
  #timer: NodeJS.Timeout | undefined;
  readonly #unwatch: () => void;

  /** Finds what lies ready in the store. Refuses as the store does. */
  static async open(parts: SoftwareKeyPoolParts): Promise<Result<SoftwareKeyPool>> {
    const pool = new SoftwareKeyPool(parts);
    for (let after: string | undefined; ; ) {
      const range = { prefix: poolPrefix, limit: pageEntries, ...(after === undefined ? {} : { after }) };
      const page = await parts.store.list(range);
      if (!page.ok) {
        pool.#unwatch();
        return page;
      }
      for (const { key } of page.value) pool.#ready.push(key.slice(poolPrefix.length));
      after = page.value.at(-1)?.key;
      if (page.value.length < pageEntries) return { ok: true, value: pool };
    }
  }

  private constructor(parts: SoftwareKeyPoolParts) {
    this.#parts = parts;
    this.#unwatch = parts.store.watch(poolPrefix, ({ key, value }) => {
      if (value === undefined && this.#out.delete(key.slice(poolPrefix.length))) parts.observer.taken();
    });
  }

  /** Keys that lie ready. */
  get fill(): number {
    return this.#ready.length;
  }

  /** Goes on filling until it is closed. */
  start(): void {
    this.#timer ??= setInterval(() => void this.look(), lookEveryMs).unref();
  }

  /** Idempotent. Waits for the key that is being made. */
  async close(): Promise<void> {
    clearInterval(this.#timer);
    this.#unwatch();
    this.#ready.length = 0;
    await this.#making;
  }

  async take(algorithm: Algorithm): Promise<KeyPart | undefined> {
    if (algorithm !== this.#algorithm) return undefined;
    // Whoever makes keys is not idle.
    this.#idleSinceMs = undefined;
    for (;;) {
      const name = this.#ready.shift();
      if (name === undefined) break;
      const part = await this.#read(name);
      if (part !== undefined) return part;
    }
    this.#parts.observer.missed();
    return undefined;
  }

  async #read(name: string): Promise<KeyPart | undefined> {
    const { store, clock } = this.#parts;
    this.#out.set(name, clock.monotonicMs());
    const found = await store.get(`${poolPrefix}${name}`);
    const part = found.ok && found.value !== undefined ? this.#partIn(name, found.value) : undefined;
    // Of a store that does not answer it lies ready again later.
    if (part === undefined && found.ok) this.#out.delete(name);
    return part;
  }

  #partIn(name: string, { key, value, revision }: StoreEntry): KeyPart | undefined {
    const opened = openAuthenticated(key, value, this.#parts.mac);
    const text = (bytes: Uint8Array) => Buffer.from(bytes).toString();
    const pub = opened && pubIn(text(opened.text));
    const [sealed] = (opened && sealedIn(text(opened.rest))) ?? [];
    if (pub === undefined || sealed === undefined) {
      this.#parts.onCorruptEntry(key);
      return undefined;
    }
    return { publicKey: pub, sealed, pooled: { name, revision } };
  }

  /** Begins to make one where there is room and nothing else to do; takes back what no change has taken. */
  async look(): Promise<void> {
    const { clock, idle, target } = this.#parts;
    const nowMs = clock.monotonicMs();
    await this.#takeBack(nowMs);
    if (this.#making !== undefined) return;
    if (!idle()) this.#idleSinceMs = undefined;
    else this.#idleSinceMs ??= nowMs;
    const rested = this.#idleSinceMs !== undefined && nowMs - this.#idleSinceMs >= idleForMs;
    if (!rested || this.#ready.length + this.#out.size >= target) return;
    this.#making = this.#make().finally(() => {
      this.#making = undefined;
    });
    await this.#making;
  }

  async #takeBack(nowMs: number): Promise<void> {
    for (const [name, sinceMs] of this.#out) {
      if (nowMs - sinceMs < leaseMs) return;
      this.#out.delete(name);
      // Should its change go on all the same, the next one fails: an entry leaves the store once.
      const found = await this.#parts.store.get(`${poolPrefix}${name}`);
      if (!found.ok) this.#out.set(name, nowMs);
      else if (found.value !== undefined) this.#ready.push(name);
    }
  }

  async #make(): Promise<void> {
    const { generate, mac, store, observer } = this.#parts;
    const name = randomUUID();
    const made = await generate(this.#algorithm, poolTenant, pooledName(name));
    const [part] = made.ok ? made.value : [];
    if (part?.sealed === undefined) return;
    const key = `${poolPrefix}${name}`;
    const text = JSON.stringify({ v: 1, pub: encodeBase64(part.publicKey) });
    const rest = JSON.stringify([encodeBase64(part.sealed)]);
    const value = authenticated(key, text, mac, rest);
    const outcome = await store.commit([{ key, value, expectedRevision: 0 }]);
    if (!outcome.ok || !outcome.value.committed) return;
    this.#ready.push(name);
    observer.made();
  }
}

function pubIn(text: string): Uint8Array | undefined {
  const { v, pub } = JSON.parse(text) as { readonly v: unknown; readonly pub: string };
  return v === 1 ? decodeBase64(pub, maxBytes) : undefined;
}

/** Nothing vouches for these bytes. */
function sealedIn(rest: string): readonly Uint8Array[] | undefined {
  try {
    const parts: unknown = JSON.parse(rest);
    const [sealed] = Array.isArray(parts) ? parts : [];
    const bytes = typeof sealed === 'string' ? decodeBase64(sealed, maxBytes) : undefined;
    return bytes && [bytes];
  } catch {
    return undefined;
  }
}

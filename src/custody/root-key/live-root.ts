import type { MacKey, MacKeyRef } from '../../core/mac-key.ts';
import type { Engine, RootRef } from '../../engine/engine.ts';
import { type RecordMac, recordMacPurpose } from '../../keys/authenticity.ts';

/** The bytes by which the engine uses a key, under the new root key. */
export type ReferenceAnew = (reference: Uint8Array) => Uint8Array;

/** The root key of a running service, which a rotation replaces under it. */
export class LiveRoot {
  /** Seals under the current root key. While records go over, it also opens under the one before. */
  ref: RootRef;
  /** One function for the life of the service. It computes under the current root key, and `before` under the one before. */
  readonly mac: RecordMac;
  readonly #engine: Engine;
  #current: RecordKey;
  #before: RecordKey | undefined;
  readonly #users = new Set<(ref: RootRef) => void | Promise<void>>();
  readonly #holders = new Set<(anew: ReferenceAnew) => void | Promise<void>>();

  /** `before`: the root key before, of a rotation that was cut off. */
  constructor(engine: Engine, current: RootRef, before?: RootRef) {
    this.#engine = engine;
    this.#current = recordKey(engine, current);
    this.#before = before === undefined ? undefined : recordKey(engine, before);
    this.ref = before === undefined ? current : engine.joinRoots(current, before);
    const mac = (message: Uint8Array) => this.#current.mac(message);
    this.mac = Object.defineProperty(mac, 'before', { get: () => this.#before?.mac });
  }

  get current(): RootRef {
    return this.#current.root;
  }

  /** Undefined: nothing goes over. */
  get before(): RootRef | undefined {
    return this.#before?.root;
  }

  /** A MAC key of the current root key for this purpose. It lives as long as that. */
  derive(purpose: string): MacKey {
    return derived(this.#engine, this.#current, purpose);
  }

  /** The same of the root key that records go over from. Undefined: none go over. */
  deriveBefore(purpose: string): MacKey | undefined {
    return this.#before && derived(this.#engine, this.#before, purpose);
  }

  /** Told of each change of `ref`; a promise is waited for. */
  onChange(use: (ref: RootRef) => void | Promise<void>): void {
    this.#users.add(use);
  }

  /** Called when the store has gone over: holders drop what they read before, or take it anew. */
  onRefresh(hold: (anew: ReferenceAnew) => void | Promise<void>): void {
    this.#holders.add(hold);
  }

  async refresh(anew: ReferenceAnew): Promise<void> {
    await Promise.all([...this.#holders].map((hold) => hold(anew)));
  }

  /** Seals everything under `next` once it resolves. Openers learn of the key before anybody seals under it. */
  async goOver(next: RootRef): Promise<void> {
    if (this.#before !== undefined) throw new Error('a rotation is under way');
    const before = this.#current;
    const opensBoth = this.#engine.joinRoots(before.root, next);
    await this.#use(opensBoth);
    this.#before = before;
    this.#current = recordKey(this.#engine, next);
    await this.#use(this.#engine.joinRoots(next, before.root));
    this.#engine.closeRoot(opensBoth);
  }

  /** The root key before opens nothing any more. */
  async closeBefore(): Promise<void> {
    const before = this.#before;
    if (before === undefined) return;
    const joined = this.ref;
    this.#before = undefined;
    await this.#use(this.#current.root);
    this.#engine.closeRoot(joined);
    this.#engine.closeRoot(before.root);
    for (const ref of before.refs) this.#engine.closeMacKey(ref);
  }

  async #use(ref: RootRef): Promise<void> {
    this.ref = ref;
    await Promise.all([...this.#users].map((use) => use(ref)));
  }
}

interface RecordKey {
  readonly root: RootRef;
  readonly mac: (message: Uint8Array) => Uint8Array;
  /** All MAC keys that were derived from it. */
  readonly refs: MacKeyRef[];
}

function recordKey(engine: Engine, root: RootRef): RecordKey {
  const ref = engine.rootMacKey(root, recordMacPurpose);
  return { root, mac: engine.macKey(ref).mac, refs: [ref] };
}

function derived(engine: Engine, { root, refs }: RecordKey, purpose: string): MacKey {
  const ref = engine.rootMacKey(root, purpose);
  refs.push(ref);
  return engine.macKey(ref);
}

const namePurpose = 'root-name';
const nameBytes = 8;

/** A name that tells root keys apart: the first 8 bytes, in hex, of a MAC. Its key is derived for this alone. */
export function rootName(engine: Engine, root: RootRef): string {
  const ref = engine.rootMacKey(root, namePurpose);
  const name = engine.macKey(ref).mac(new Uint8Array()).subarray(0, nameBytes);
  engine.closeMacKey(ref);
  return Buffer.from(name).toString('hex');
}

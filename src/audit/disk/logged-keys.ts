import type { AuditRecord } from '../format/record.ts';

/**
 * A key as one number: twice its current version, and one more when it is destroyed. 0: there is no such key. Greater is
 * later: no change leads back.
 */
export type KeyState = number;

export const absent: KeyState = 0;

/** Stands for a key whose record cannot be read: no answer can use it, and it says nothing. */
export const unreadable: KeyState = -1;

/** A part of the store's keys: id and state at the same places. */
export interface KeyStatePage {
  readonly ids: readonly string[];
  readonly states: readonly KeyState[];
  /** The beginning of the next page; undefined after the last one. */
  readonly next: string | undefined;
}

export function keyState(version: number, destroyed: boolean): KeyState {
  return version * 2 + (destroyed ? 1 : 0);
}

export function versionOf(state: KeyState): number {
  return state >> 1;
}

export function isDestroyed(state: KeyState): boolean {
  return state % 2 === 1;
}

interface LoggedKey {
  /** The states that are possible if its last change took effect. */
  readonly states: readonly KeyState[];
  /** The states that were possible before it. */
  readonly before: readonly KeyState[];
  /** Index of the last change. */
  readonly at: number;
}

/** A record's word on a change: that it is about to be committed, or that nobody knows whether it was. */
export type ChangeSaid = 'begun' | 'failed' | undefined;

const unknownKey: LoggedKey = { states: [absent], before: [absent], at: -1 };

/**
 * The log's view of the keys in the store. A change is on the log before the store commits it, and changes of one key come one
 * after the other; so a crash leaves at most one change of each key that is here and not in the store.
 */
export class LoggedKeys {
  readonly #keys: Map<string, LoggedKey>;
  readonly #openFrom: number;

  /**
   * The keys of a snapshot: a checkpoint covers it, so all their changes are decided. `openFrom`: the store may be of before
   * any change from this index on, as a backup's is that was made while the log was written.
   */
  constructor(
    decided: ReadonlyMap<string, readonly KeyState[]> = new Map(),
    openFrom = Number.POSITIVE_INFINITY,
  ) {
    this.#openFrom = openFrom;
    this.#keys = new Map();
    for (const [id, states] of decided) this.#keys.set(id, { states, before: states, at: -1 });
  }

  ids(): Iterable<string> {
    return this.#keys.keys();
  }

  /** As the constructor takes them. */
  snapshot(): Map<string, readonly KeyState[]> {
    const decided = new Map<string, readonly KeyState[]>();
    for (const [id, { states }] of this.#keys) decided.set(id, states);
    return decided;
  }

  /** The possible states, if every change among the first `decided` records took effect unless the log says otherwise. */
  possible(id: string, decided: number): readonly KeyState[] {
    const { states, before, at } = this.#keys.get(id) ?? unknownKey;
    return at < decided ? states : union(before, states);
  }

  /** True if the log says exactly this without anything more. */
  says(id: string, state: KeyState): boolean {
    const { states } = this.#keys.get(id) ?? unknownKey;
    return states.length === 1 && states[0] === state;
  }

  /** Takes a record that has a type; `index` is its place. */
  apply(
    record: Pick<AuditRecord, 'type' | 'key_id' | 'key_version' | 'result' | 'data'>,
    index: number,
  ): ChangeSaid {
    const { type, key_id: id, key_version: version, data } = record;
    if (type === 'key.found') {
      // It names public keys then, and not a state.
      if (data !== undefined && data.state === undefined) return undefined;
      if (version === 0) this.#keys.delete(id);
      else this.#decide(id, [keyState(version, data?.state === 'destroyed')]);
      return undefined;
    }
    const change = changes[type ?? ''];
    if (change === undefined) return undefined;
    const known = this.#keys.get(id) ?? unknownKey;
    if (record.result !== 'ok') {
      this.#decide(id, union(known.before, known.states));
      return 'failed';
    }
    // It was asked of a key that had been read: what does not fit was not so.
    const fitting = known.states.filter((state) => change(state, version) !== undefined);
    const from = fitting.length === 0 ? known.states : fitting;
    const states = from.map((state) => change(state, version) ?? state);
    const before = index < this.#openFrom ? from : union(known.before, from);
    this.#keys.set(id, { states, before, at: index });
    return 'begun';
  }

  /** A use of the version: whoever could use it had it. */
  used(id: string, version: number): void {
    const known = this.#keys.get(id);
    if (known === undefined || this.#openFrom !== Number.POSITIVE_INFINITY) return;
    const had = (state: KeyState) => versionOf(state) >= version;
    if (known.before.every(had) || !known.states.some(had)) return;
    this.#keys.set(id, { ...known, states: known.states.filter(had), before: known.before.filter(had) });
  }

  #decide(id: string, states: readonly KeyState[]): void {
    this.#keys.set(id, { states, before: states, at: -1 });
  }
}

/** The state after a change that names this version; undefined: nobody could ask for it then. */
const changes: Readonly<Record<string, (state: KeyState, version: number) => KeyState | undefined>> = {
  'key.create': (state, version) => (state === absent ? keyState(version, false) : undefined),
  'key.rotate': (state, version) =>
    state === keyState(version - 1, false) ? keyState(version, false) : undefined,
  'key.destroy': (state, version) => {
    // An old version leaves the key as it is.
    if (version > 0) return versionOf(state) > version ? state : undefined;
    return state === absent || isDestroyed(state) ? undefined : state + 1;
  },
};

function union(one: readonly KeyState[], other: readonly KeyState[]): readonly KeyState[] {
  return one === other ? one : [...new Set([...one, ...other])];
}

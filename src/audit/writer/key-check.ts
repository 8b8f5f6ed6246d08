import type { AuditEvent } from '../audit-log.ts';
import {
  absent,
  isDestroyed,
  type KeyState,
  type KeyStatePage,
  type LoggedKeys,
  unreadable,
  versionOf,
} from '../disk/logged-keys.ts';

/** A mismatch, or records of facts that the log could not know, which come before its next checkpoint. */
export type KeysChecked = { readonly ok: true; readonly found: readonly AuditEvent[] } | KeyMismatch;

export interface KeyMismatch {
  readonly ok: false;
  /** Behind: the log knows later changes that took effect. Ahead: there are changes that the log does not know. */
  readonly reason: 'store_behind' | 'store_ahead';
  readonly detail: string;
}

/**
 * Holds the keys of the store, page after page, against what the log says of them when a checkpoint covers its first
 * `decided` records. Undefined: there was no next page.
 */
export async function checkKeys(
  logged: LoggedKeys,
  decided: number,
  first: KeyStatePage,
  pageAfter: (id: string) => Promise<KeyStatePage | undefined>,
): Promise<KeysChecked | undefined> {
  const check = new KeyCheck(logged, decided);
  check.take(first);
  for (let { next } = first; next !== undefined; ) {
    const page = await pageAfter(next);
    if (page === undefined) return undefined;
    check.take(page);
    next = page.next;
  }
  return check.end();
}

class KeyCheck {
  readonly #logged: LoggedKeys;
  readonly #decided: number;
  readonly #missing: Set<string>;
  readonly #found: AuditEvent[] = [];
  #mismatch: { id: string; state: KeyState; reason: KeyMismatch['reason'] } | undefined;
  #mismatches = 0;

  /**
   * Changes among the first `decided` records were committed, unless the log says otherwise: a checkpoint covers them. Where
   * none was made yet (0) the log takes the store's keys as it finds them.
   */
  constructor(logged: LoggedKeys, decided: number) {
    this.#logged = logged;
    this.#decided = decided;
    this.#missing = new Set(logged.ids());
  }

  take({ ids, states }: KeyStatePage): void {
    for (const [place, id] of ids.entries()) {
      this.#missing.delete(id);
      this.#compare(id, states[place] as KeyState);
    }
  }

  /** After the last page. */
  end(): KeysChecked {
    for (const id of this.#missing) this.#compare(id, absent);
    if (this.#mismatch === undefined) return { ok: true, found: this.#found };
    const { id, state, reason } = this.#mismatch;
    const said = this.#logged.possible(id, this.#decided).map(inWords).join(' or ');
    const others = this.#mismatches === 1 ? '' : `, and ${this.#mismatches - 1} others differ`;
    return { ok: false, reason, detail: `${id} is ${inWords(state)}, on the log ${said}${others}` };
  }

  #compare(id: string, state: KeyState): void {
    if (state === unreadable) return;
    const possible = this.#logged.possible(id, this.#decided);
    if (possible.includes(state) || this.#decided === 0) {
      if (!this.#logged.says(id, state)) this.#found.push(foundEvent(id, state));
      return;
    }
    this.#mismatches++;
    this.#mismatch ??= { id, state, reason: state < Math.max(...possible) ? 'store_behind' : 'store_ahead' };
  }
}

function foundEvent(id: string, state: KeyState): AuditEvent {
  const [tenant = '', , alg = 'none'] = id.split('/');
  return {
    actor: 'audit-log',
    alg,
    inputDigest: undefined,
    keyId: id,
    keyVersion: versionOf(state),
    opId: crypto.randomUUID(),
    purpose: 'recovery',
    result: 'ok',
    tenant,
    type: 'key.found',
    data: { state: state === absent ? 'absent' : isDestroyed(state) ? 'destroyed' : 'active' },
  };
}

function inWords(state: KeyState): string {
  if (state === absent) return 'absent';
  return isDestroyed(state) ? 'destroyed' : `at version ${versionOf(state)}`;
}

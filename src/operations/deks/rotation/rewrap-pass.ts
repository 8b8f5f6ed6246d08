import { ok, type Refused, type Result, refuse } from '../../../core/result.ts';
import { type Dek, isBehind } from '../dek.ts';
import type { DekStore, StoredDek } from '../dek-store.ts';
import type { DekRewrapper } from './dek-rewrapper.ts';
import { type DekSnapshots, onSnapshotDisk } from './snapshots.ts';

export interface RewrapParts {
  readonly deks: DekStore;
  readonly rewrapper: DekRewrapper;
  readonly snapshots: DekSnapshots;
  /** For the operator's log. Must not throw. */
  readonly report: (event: RewrapEvent) => void;
}

/** The wrapping of this DEK does not open. It stays as it is, and its KEK with it. */
export interface RewrapEvent {
  readonly kind: 'unopened';
  readonly dekId: string;
}

export interface KekRotationProgress {
  /** The version that DEKs go over to. */
  readonly target: number;
  /** DEKs that went over, in this run of the service. */
  readonly rewrapped: number;
  /** DEKs that were looked at. */
  readonly seen: number;
  /** DEKs whose wrapping does not open: they stay as they are. */
  readonly unopened: number;
}

/** DEKs that stay under KEKs of before. */
export interface LeftBehind {
  readonly unopened: number;
  /** Records that cannot be read, or are not authentic. */
  readonly unread: number;
}

interface RewrappedDek {
  readonly before: StoredDek;
  readonly dek: Dek;
}

/** A page is one work, which takes a worker less than a millisecond, and one commit. */
const deksPerPage = 64;
/** Turns after which a page is put one by one: with many callers each whole page meets a change. */
const wholePageTurns = 2;
/** Each turn lets another writer of the same DEKs through. */
const maxTurns = 16;

const stopped = refuse(
  'StoreUnavailable',
  'the service stops; the rotation goes on with its next start',
  1_000,
);

/** Rewraps DEKs by one version of the KEK, and keeps a snapshot of each as it was. */
export class RewrapPass {
  readonly #parts: RewrapParts;
  readonly #target: number;
  #rewrapped = 0;
  #seen = 0;
  #unopened = 0;
  #unread = 0;

  constructor(parts: RewrapParts, target: number) {
    this.#parts = parts;
    this.#target = target;
  }

  get progress(): KekRotationProgress {
    return {
      ...{ target: this.#target, rewrapped: this.#rewrapped },
      ...{ seen: this.#seen, unopened: this.#unopened },
    };
  }

  get left(): LeftBehind {
    return { unopened: this.#unopened, unread: this.#unread };
  }

  /** Rewraps every DEK of the store; undefined: all were looked at. `signal` ends it behind the page under way. */
  async rewrapAll(signal: AbortSignal): Promise<Refused | undefined> {
    let after: string | undefined;
    do {
      const page = await this.#parts.deks.page(after, deksPerPage);
      if (!page.ok) return page;
      const unopened = await this.rewrap(page.value.deks);
      if (!unopened.ok) return unopened;
      this.#seen += page.value.deks.length;
      this.#unopened += unopened.value;
      this.#unread += page.value.unread;
      after = page.value.last;
      if (signal.aborted) return stopped;
    } while (after !== undefined);
    return undefined;
  }

  /** Rewraps these. Gives the number of those that do not open, which stay as they are and are reported. */
  async rewrap(deks: readonly StoredDek[]): Promise<Result<number>> {
    let left = deks.filter(({ dek }) => isBehind(dek, this.#target));
    for (let turn = 0; left.length > 0; turn++) {
      if (turn === maxTurns) return refuse('StoreUnavailable', 'DEKs change without an end', 1_000);
      const rewrapped = await this.#parts.rewrapper.rewrapped(
        left.map(({ dek }) => dek),
        this.#target,
      );
      if (!rewrapped.ok) return rewrapped;
      const changes = left
        .map((before, index) => ({ before, dek: rewrapped.value[index] as Dek }))
        // A DEK that does not open at all keeps its earlier snapshot.
        .filter(({ before, dek }) => dek.versions.some((each, n) => each !== before.dek.versions[n]));
      const put = await this.#putWithSnapshots(changes, turn >= wholePageTurns);
      if (!put.ok) return put;
      // A DEK that is half rewrapped does not count.
      this.#rewrapped += put.value.filter((dek) => !isBehind(dek, this.#target)).length;
      if (put.value.length === changes.length) return ok(this.#reportUnopened(rewrapped.value));
      const again = await this.#stillBehind(left);
      if (!again.ok) return again;
      left = again.value;
    }
    return ok(0);
  }

  #reportUnopened(deks: readonly Dek[]): number {
    const unopened = deks.filter((dek) => isBehind(dek, this.#target));
    for (const { id } of unopened) this.#parts.report({ kind: 'unopened', dekId: id });
    return unopened.length;
  }

  /** The DEKs that were put. A change by others keeps back the whole page; `singly`: that one DEK alone. */
  async #putWithSnapshots(
    changes: readonly RewrappedDek[],
    singly: boolean,
  ): Promise<Result<readonly Dek[]>> {
    if (changes.length === 0) return ok([]);
    const { deks, snapshots } = this.#parts;
    const originals = changes.map(({ before }) => before.dek);
    const unwritten = await onSnapshotDisk(() => snapshots.write(originals, this.#target));
    if (unwritten !== undefined) return unwritten;
    const done: Dek[] = [];
    for (const some of singly ? changes.map((change) => [change]) : [changes]) {
      const put = await deks.putAll(some);
      if (!put.ok) return put;
      if (put.value === 'put') done.push(...some.map(({ dek }) => dek));
    }
    return ok(done);
  }

  async #stillBehind(seen: readonly StoredDek[]): Promise<Result<StoredDek[]>> {
    const { deks, snapshots } = this.#parts;
    const still: StoredDek[] = [];
    for (const { dek } of seen) {
      const found = await deks.find(dek.id);
      if (!found.ok) return found;
      if (found.value?.dek.state === 'destroyed') {
        // Its destruction may have looked for snapshots before this one was there.
        const kept = await onSnapshotDisk(() => snapshots.removeOf(dek.id));
        if (kept !== undefined) return kept;
      }
      if (found.value !== undefined && isBehind(found.value.dek, this.#target)) still.push(found.value);
    }
    return ok(still);
  }
}

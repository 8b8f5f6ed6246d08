import { ok, type Refused, type Result, refuse } from '../../core/result.ts';
import { authenticated, openAuthenticated, type RecordMac } from '../../keys/authenticity.ts';
import type { GivenVersion } from '../../keys/keyring.ts';
import type { Store } from '../../store/store.ts';
import type { Dek } from './dek.ts';
import type { DekRewrapper } from './dek-rewrapper.ts';
import type { StoredDek } from './dek-store.ts';
import { type KekPruningEvent, type KekPruningParts, pruneKeks } from './kek-pruning.ts';
import { SnapshotAges } from './snapshot-ages.ts';
import { onSnapshotDisk } from './snapshots.ts';

export interface KekRotationParts extends KekPruningParts {
  readonly rewrapper: DekRewrapper;
  readonly store: Store;
  readonly mac: RecordMac;
  /** For the operator's log. Must not throw. */
  readonly report: (event: KekRotationEvent) => void;
}

export type KekRotationEvent =
  | { readonly kind: 'resumed' | 'done'; readonly target: number; readonly rewrapped: number }
  | { readonly kind: 'stopped'; readonly target: number; readonly problem: string }
  /** It is over, and some DEKs are behind: wrappings that do not open, and records that cannot be read. */
  | ({ readonly kind: 'incomplete'; readonly target: number; readonly rewrapped: number } & LeftBehind)
  /** Its wrapping does not open: it stays as it is, and its KEK with it. */
  | { readonly kind: 'unopened'; readonly dekId: string }
  | KekPruningEvent;

export interface KekRotationProgress {
  /** The version that DEKs go over to. */
  readonly target: number;
  /** DEKs that have gone over, in this run of the service. */
  readonly rewrapped: number;
  /** DEKs that were looked at. */
  readonly seen: number;
  /** DEKs whose wrapping does not open: they stay as they are. */
  readonly unopened: number;
}

interface LeftBehind {
  readonly unopened: number;
  /** Records that cannot be read, or are not authentic. */
  readonly unread: number;
}

/** Every DEK is wrapped by this version. */
export interface KekRotated {
  readonly kekId: string;
  readonly kekVersion: number;
  readonly rewrapped: number;
}

const intentKey = 'dek-rotation';
/** In one work, which takes a worker less than a millisecond, and one commit. */
const deksPerPage = 64;
/** After these a page is put one by one: with many callers each whole page meets a change. */
const wholePageTurns = 2;
/** Somebody else changes the same DEKs at the same moment; each turn lets one of them through. */
const maxTurns = 16;

const underWay = refuse('Conflict', 'a rotation of the key encryption key is under way');
const unfinished = refuse(
  'Conflict',
  'a rotation before this one has not ended: rotate without new_kek_hex first',
);
const stopped = refuse(
  'StoreUnavailable',
  'the service stops; the rotation goes on with its next start',
  1_000,
);
const lost = refuse('Conflict', 'the KEK that was given is lost: give it again');
const wrong = refuse('Internal');
const doesNotOpen = refuse(
  'Conflict',
  'the DEK does not open under its KEK and stays as it is: intaglio dek restore brings it back from its snapshot, where there is one',
);

/**
 * Replaces the KEK's version, and rewraps every DEK. The wish is a record before anything else happens, and each step is as good
 * twice as once: whatever is killed goes on with the next start.
 */
export class KekRotation {
  readonly #parts: KekRotationParts;
  readonly #ages: SnapshotAges;
  #progress: { target: number; rewrapped: number; seen: number; unopened: number } | undefined;
  #running: Promise<unknown> | undefined;
  #stopping = false;

  constructor(parts: KekRotationParts) {
    this.#parts = parts;
    this.#ages = new SnapshotAges(parts.clock, parts.keepSnapshotsMs);
  }

  get progress(): KekRotationProgress | undefined {
    return this.#progress;
  }

  /**
   * Resolves when every DEK is wrapped by the new version. Conflict: another one is under way; or this one is over, and some DEKs
   * are behind, which stay under KEKs of before.
   */
  rotate(actor: string, given?: GivenVersion): Promise<Result<KekRotated>> {
    if (this.#running !== undefined) return Promise.resolve(underWay);
    return this.#run(() => this.#rotate(actor, given));
  }

  /** One DEK alone, to the version that is current. Conflict: it does not open. */
  async rewrapOne(stored: StoredDek, actor: string): Promise<Refused | undefined> {
    const current = await this.#parts.keks.current(actor);
    if (!current.ok) return current;
    const behind = await this.#rewrapPage([stored], current.value.version.version);
    if (!behind.ok) return behind;
    return behind.value === 0 ? undefined : doesNotOpen;
  }

  /** Goes on with what a kill has cut off, and prunes what has had its time. Reports instead of rejecting. */
  async resume(): Promise<void> {
    const intent = await this.#intent();
    if (!intent.ok || this.#running !== undefined) return;
    if (intent.value !== undefined) {
      const { target, actor } = intent.value;
      if (intent.value.given && (await this.#neverMade(target, actor))) return this.#forget(target);
      const done = await this.#run(() => this.#goOn(target, actor, undefined));
      if (done.ok) this.#parts.report({ kind: 'resumed', target, rewrapped: done.value.rewrapped });
    }
    await this.prune('schedule');
  }

  /** Old snapshots go, and then the versions of the KEK that nothing needs any more. */
  prune(actor: string): Promise<void> {
    return pruneKeks(this.#parts, this.#ages, actor);
  }

  /** As `prune`, unless a rotation is under way, which prunes at its end. */
  async pruneOnSchedule(): Promise<void> {
    if (this.#running === undefined && !this.#stopping) await this.prune('schedule');
  }

  /** Waits for the page under way. Idempotent. */
  async close(): Promise<void> {
    this.#stopping = true;
    await this.#running;
  }

  async #run(work: () => Promise<Result<KekRotated>>): Promise<Result<KekRotated>> {
    const running = work();
    this.#running = running.catch(() => {});
    try {
      return await running;
    } finally {
      this.#running = undefined;
      this.#progress = undefined;
    }
  }

  async #rotate(actor: string, given: GivenVersion | undefined): Promise<Result<KekRotated>> {
    // One that was cut off or refused half way is the one that is asked for.
    const begun = await this.#intent();
    if (!begun.ok) return begun;
    if (begun.value !== undefined)
      return given === undefined ? this.#goOn(begun.value.target, actor, undefined) : unfinished;
    const current = await this.#parts.keks.current(actor);
    if (!current.ok) return current;
    const target = current.value.version.version + 1;
    const { store, mac } = this.#parts;
    const wish = { v: 1, target, actor, ...(given === undefined ? undefined : { given: true }) };
    const value = authenticated(intentKey, JSON.stringify(wish), mac);
    const intended = await store.commit([{ key: intentKey, value }]);
    return intended.ok ? this.#goOn(target, actor, given) : intended;
  }

  async #goOn(target: number, actor: string, given: GivenVersion | undefined): Promise<Result<KekRotated>> {
    const { keks, store, report } = this.#parts;
    this.#progress = { target, rewrapped: 0, seen: 0, unopened: 0 };
    const current = await keks.current(actor);
    if (!current.ok) return this.#stopped(target, current);
    if (current.value.version.version < target) {
      const made = await keks.rotate(actor, target - 1, given);
      if (!made.ok) {
        // Nothing has happened: the wish goes as well, or a KEK that was given would be replaced by one at random.
        if (given !== undefined) await store.commit([{ key: intentKey, value: undefined }]);
        return this.#stopped(target, made);
      }
    }
    // Whatever is made from now on is wrapped by the new version: a pass over all misses none.
    await this.#parts.deks.fence(target);
    const all = await this.#rewrapAll(target);
    if (!all.ok) return this.#stopped(target, all);
    const forgotten = await store.commit([{ key: intentKey, value: undefined }]);
    if (!forgotten.ok) return this.#stopped(target, forgotten);
    const { rewrapped, unopened } = this.#progress;
    const left = { unopened, unread: all.value.unread };
    const isDone = left.unopened + left.unread === 0;
    report(isDone ? { kind: 'done', target, rewrapped } : { kind: 'incomplete', target, rewrapped, ...left });
    await this.prune(actor);
    return isDone
      ? ok({ kekId: keks.id, kekVersion: target, rewrapped })
      : incomplete(target, rewrapped, left);
  }

  #stopped(target: number, refused: Refused): Refused {
    const { code, hint } = refused.failure;
    this.#parts.report({ kind: 'stopped', target, problem: hint === undefined ? code : `${code}: ${hint}` });
    return refused;
  }

  async #rewrapAll(target: number): Promise<Result<{ readonly unread: number }>> {
    let unread = 0;
    let after: string | undefined;
    do {
      const page = await this.#parts.deks.page(after, deksPerPage);
      if (!page.ok) return page;
      unread += page.value.unread;
      const unopened = await this.#rewrapPage(page.value.deks, target);
      if (!unopened.ok) return unopened;
      if (this.#progress !== undefined) {
        this.#progress.seen += page.value.deks.length;
        this.#progress.unopened += unopened.value;
      }
      after = page.value.last;
      if (this.#stopping) return stopped;
    } while (after !== undefined);
    return ok({ unread });
  }

  /** The number of those that do not open: they are as they were, and told. */
  async #rewrapPage(page: readonly StoredDek[], target: number): Promise<Result<number>> {
    let left = page.filter(({ dek }) => isBehind(dek, target));
    for (let turn = 0; left.length > 0; turn++) {
      if (turn === maxTurns) return refuse('StoreUnavailable', 'DEKs change without an end', 1_000);
      const rewrapped = await this.#parts.rewrapper.rewrapped(left, target);
      if (!rewrapped.ok) return rewrapped;
      const changes = left
        .map((before, index) => ({ before, dek: rewrapped.value[index] as Dek }))
        // Of one that does not open at all the snapshot of before stays, too.
        .filter(({ before, dek }) => dek.versions.some((each, n) => each !== before.dek.versions[n]));
      const put = await this.#putWithSnapshots(changes, target, turn >= wholePageTurns);
      if (!put.ok) return put;
      // One of whose versions some do not open is not among them.
      const over = put.value.filter((dek) => !isBehind(dek, target));
      if (this.#progress !== undefined) this.#progress.rewrapped += over.length;
      if (put.value.length === changes.length) {
        const unopened = rewrapped.value.filter((dek) => isBehind(dek, target));
        for (const { id } of unopened) this.#parts.report({ kind: 'unopened', dekId: id });
        return ok(unopened.length);
      }
      const again = await this.#stillBehind(left, target);
      if (!again.ok) return again;
      left = again.value;
    }
    return ok(0);
  }

  /** Those that were put: all, or none of a page where somebody else has changed one meanwhile; `singly` the others all the same. */
  async #putWithSnapshots(
    changes: readonly { readonly before: StoredDek; readonly dek: Dek }[],
    target: number,
    singly: boolean,
  ): Promise<Result<readonly Dek[]>> {
    if (changes.length === 0) return ok([]);
    const unwritten = await this.#snapshotted(changes, target);
    if (unwritten !== undefined) return unwritten;
    const done: Dek[] = [];
    for (const some of singly ? changes.map((change) => [change]) : [changes]) {
      const put = await this.#parts.deks.putAll(some);
      if (!put.ok) return put;
      if (put.value === 'put') done.push(...some.map(({ dek }) => dek));
    }
    return ok(done);
  }

  async #stillBehind(deks: readonly StoredDek[], target: number): Promise<Result<StoredDek[]>> {
    const still: StoredDek[] = [];
    for (const { dek } of deks) {
      const found = await this.#parts.deks.find(dek.id);
      if (!found.ok) return found;
      if (found.value?.dek.state === 'destroyed') {
        // Its destruction has looked for snapshots before this one was there.
        const kept = await onSnapshotDisk(() => this.#parts.snapshots.removeOf(dek.id));
        if (kept !== undefined) return kept;
      }
      if (found.value !== undefined && isBehind(found.value.dek, target)) still.push(found.value);
    }
    return ok(still);
  }

  async #snapshotted(
    changes: readonly { readonly before: StoredDek }[],
    target: number,
  ): Promise<Refused | undefined> {
    const deks = changes.map(({ before }) => before.dek);
    return onSnapshotDisk(() => this.#parts.snapshots.write(deks, target));
  }

  /** A KEK that was given is not at hand any more: another one must not take its place. */
  async #neverMade(target: number, actor: string): Promise<boolean> {
    const current = await this.#parts.keks.current(actor);
    return current.ok && current.value.version.version < target;
  }

  async #forget(target: number): Promise<void> {
    const forgotten = await this.#parts.store.commit([{ key: intentKey, value: undefined }]);
    this.#stopped(target, forgotten.ok ? lost : forgotten);
  }

  async #intent(): Promise<Result<Intent | undefined>> {
    const entry = await this.#parts.store.get(intentKey);
    if (!entry.ok) return entry;
    if (entry.value === undefined) return ok(undefined);
    const opened = openAuthenticated(intentKey, entry.value.value, this.#parts.mac);
    if (opened === undefined) return wrong;
    return ok(JSON.parse(Buffer.from(opened.text).toString()));
  }
}

interface Intent {
  readonly target: number;
  readonly actor: string;
  /** The KEK came in the clear. */
  readonly given?: true;
}

function isBehind(dek: Dek, target: number): boolean {
  return dek.versions.some(({ kek }) => kek < target);
}

function incomplete(target: number, rewrapped: number, { unopened, unread }: LeftBehind): Refused {
  return refuse(
    'Conflict',
    `the KEK is version ${target} and wraps ${rewrapped} DEKs more; ${unopened} do not open, and ${unread} records cannot be read: ` +
      'they stay under their KEKs, which are kept, and the log of the service names them',
  );
}

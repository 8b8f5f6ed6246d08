import { ok, type Refused, type Result, refuse } from '../../../core/result.ts';
import type { RecordMac } from '../../../keys/authenticity.ts';
import type { GivenVersion } from '../../../keys/keyring.ts';
import type { Store } from '../../../store/store.ts';
import type { StoredDek } from '../dek-store.ts';
import { type KekPruningEvent, type KekPruningParts, pruneKeks } from './kek-pruning.ts';
import {
  type KekRotationProgress,
  type LeftBehind,
  type RewrapEvent,
  type RewrapParts,
  RewrapPass,
} from './rewrap-pass.ts';
import { clearIntent, readIntent, writeIntent } from './rotation-intent.ts';
import { SnapshotAges } from './snapshot-ages.ts';

export interface KekRotationParts extends KekPruningParts, RewrapParts {
  readonly store: Store;
  readonly mac: RecordMac;
  /** For the operator's log. Must not throw. */
  readonly report: (event: KekRotationEvent) => void;
}

export type KekRotationEvent =
  | { readonly kind: 'resumed' | 'done'; readonly target: number; readonly rewrapped: number }
  | { readonly kind: 'stopped'; readonly target: number; readonly problem: string }
  /** The rotation is over, and some DEKs are behind. */
  | ({ readonly kind: 'incomplete'; readonly target: number; readonly rewrapped: number } & LeftBehind)
  | RewrapEvent
  | KekPruningEvent;

/** A rotation that is done: every DEK is wrapped by this version. */
export interface KekRotated {
  readonly kekId: string;
  readonly kekVersion: number;
  readonly rewrapped: number;
}

const underWay = refuse('Conflict', 'a rotation of the key encryption key is under way');
const unfinished = refuse(
  'Conflict',
  'a rotation before this one has not ended: rotate without new_kek_hex first',
);
const lost = refuse('Conflict', 'the KEK that was given is lost: give it again');
const doesNotOpen = refuse(
  'Conflict',
  'the DEK does not open under its KEK and stays as it is: intaglio dek restore brings it back from its snapshot, where there is one',
);

/**
 * Rotates the KEK: intent in the store, new version, fence, pass over all DEKs, intent removed, pruning. Each step is idempotent,
 * so that a rotation that a kill cut off goes on with the next start.
 */
export class KekRotation {
  readonly #parts: KekRotationParts;
  readonly #ages: SnapshotAges;
  readonly #stop = new AbortController();
  /** The pass of the rotation under way. */
  #pass: RewrapPass | undefined;
  #running: Promise<unknown> | undefined;

  constructor(parts: KekRotationParts) {
    this.#parts = parts;
    this.#ages = new SnapshotAges(parts.clock, parts.keepSnapshotsMs);
  }

  get progress(): KekRotationProgress | undefined {
    return this.#pass?.progress;
  }

  /**
   * Resolves when every DEK is wrapped by the new version. Conflict: another rotation is under way, or this one is over and has
   * left DEKs under KEKs of before.
   */
  rotate(actor: string, given?: GivenVersion): Promise<Result<KekRotated>> {
    if (this.#running !== undefined) return Promise.resolve(underWay);
    return this.#run(() => this.#rotate(actor, given));
  }

  /** Rewraps one DEK by the current version. Conflict: it does not open. */
  async rewrapOne(stored: StoredDek, actor: string): Promise<Refused | undefined> {
    const current = await this.#parts.keks.current(actor);
    if (!current.ok) return current;
    const unopened = await new RewrapPass(this.#parts, current.value.version.version).rewrap([stored]);
    if (!unopened.ok) return unopened;
    return unopened.value === 0 ? undefined : doesNotOpen;
  }

  /** Goes on with a rotation that a kill cut off, and prunes. Reports instead of rejecting. */
  async resume(): Promise<void> {
    const intent = await readIntent(this.#parts);
    if (!intent.ok || this.#running !== undefined) return;
    if (intent.value !== undefined) {
      const { target, actor, given } = intent.value;
      if (given && (await this.#isUnmade(target, actor))) return this.#forget(target);
      const done = await this.#run(() => this.#goOn(target, actor, undefined));
      if (done.ok) this.#parts.report({ kind: 'resumed', target, rewrapped: done.value.rewrapped });
    }
    await this.prune('schedule');
  }

  /** See pruneKeks. */
  prune(actor: string): Promise<void> {
    return pruneKeks(this.#parts, this.#ages, actor);
  }

  /** As `prune`, unless a rotation is under way, which prunes at its end. */
  async pruneOnSchedule(): Promise<void> {
    if (this.#running === undefined && !this.#stop.signal.aborted) await this.prune('schedule');
  }

  /** Waits for the page under way. Idempotent. */
  async close(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  async #run(work: () => Promise<Result<KekRotated>>): Promise<Result<KekRotated>> {
    const running = work();
    this.#running = running.catch(() => {});
    try {
      return await running;
    } finally {
      this.#running = undefined;
      this.#pass = undefined;
    }
  }

  async #rotate(actor: string, given: GivenVersion | undefined): Promise<Result<KekRotated>> {
    // A rotation that was cut off or refused half way is the one that is asked for.
    const begun = await readIntent(this.#parts);
    if (!begun.ok) return begun;
    if (begun.value !== undefined)
      return given === undefined ? this.#goOn(begun.value.target, actor, undefined) : unfinished;
    const current = await this.#parts.keks.current(actor);
    if (!current.ok) return current;
    const target = current.value.version.version + 1;
    const intent = { target, actor, ...(given === undefined ? undefined : { given: true as const }) };
    const unwritten = await writeIntent(this.#parts, intent);
    return unwritten ?? this.#goOn(target, actor, given);
  }

  async #goOn(target: number, actor: string, given: GivenVersion | undefined): Promise<Result<KekRotated>> {
    const pass = new RewrapPass(this.#parts, target);
    this.#pass = pass;
    const refused =
      (await this.#makeVersion(target, actor, given)) ??
      (await this.#rewrapAll(pass, target)) ??
      (await clearIntent(this.#parts));
    if (refused === undefined) return this.#end(pass, target, actor);
    this.#reportStopped(target, refused);
    return refused;
  }

  /** Undefined: the KEK has this version, perhaps since before a kill. */
  async #makeVersion(
    target: number,
    actor: string,
    given: GivenVersion | undefined,
  ): Promise<Refused | undefined> {
    const { keks } = this.#parts;
    const current = await keks.current(actor);
    if (!current.ok) return current;
    if (current.value.version.version >= target) return undefined;
    const made = await keks.rotate(actor, target - 1, given);
    if (made.ok) return undefined;
    // Nothing has happened yet. An intent that stayed would go on with a random KEK instead of the given one.
    if (given !== undefined) await clearIntent(this.#parts);
    return made;
  }

  async #rewrapAll(pass: RewrapPass, target: number): Promise<Refused | undefined> {
    // Behind the fence every new version is under the new KEK: a pass over all misses none.
    await this.#parts.deks.fence(target);
    return pass.rewrapAll(this.#stop.signal);
  }

  async #end(pass: RewrapPass, target: number, actor: string): Promise<Result<KekRotated>> {
    const { keks, report } = this.#parts;
    const { progress, left } = pass;
    const { rewrapped } = progress;
    const isDone = left.unopened + left.unread === 0;
    report(isDone ? { kind: 'done', target, rewrapped } : { kind: 'incomplete', target, rewrapped, ...left });
    await this.prune(actor);
    return isDone
      ? ok({ kekId: keks.id, kekVersion: target, rewrapped })
      : incomplete(target, rewrapped, left);
  }

  #reportStopped(target: number, { failure: { code, hint } }: Refused): void {
    this.#parts.report({ kind: 'stopped', target, problem: hint === undefined ? code : `${code}: ${hint}` });
  }

  /** True: a kill came before the given KEK was made, and with it its bytes are lost. */
  async #isUnmade(target: number, actor: string): Promise<boolean> {
    const current = await this.#parts.keks.current(actor);
    return current.ok && current.value.version.version < target;
  }

  async #forget(target: number): Promise<void> {
    this.#reportStopped(target, (await clearIntent(this.#parts)) ?? lost);
  }
}

function incomplete(target: number, rewrapped: number, { unopened, unread }: LeftBehind): Refused {
  return refuse(
    'Conflict',
    `the KEK is version ${target} and wraps ${rewrapped} DEKs more; ${unopened} do not open, and ${unread} records cannot be read: ` +
      'they stay under their KEKs, which are kept, and the log of the service names them',
  );
}

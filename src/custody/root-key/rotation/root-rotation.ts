import type { Clock } from '../../../core/clock.ts';
import { failures } from '../../../core/failure.ts';
import { ok, type Refused, type Result, refuse } from '../../../core/result.ts';
import { StartError } from '../../../core/start-error.ts';
import type { Engine, RootRef } from '../../../engine/engine.ts';
import { pause } from '../../../keys/background.ts';
import { type LiveRoot, rootName } from '../live-root.ts';
import { newWitness } from '../open-for-store.ts';
import { resealEveryRecord } from './reseal-pass.ts';
import { createReseal, type Reseal, resealReference } from './reseal-records.ts';
import type { ResealingStore } from './resealing-store.ts';
import {
  type RootEntry,
  type RotationEntry,
  readRootEntry,
  readRotation,
  rootEntryChange,
  rotationChange,
  rotationKey,
  witnessKey,
} from './rotation-state.ts';

export interface RotationParts {
  readonly engine: Engine;
  readonly store: ResealingStore;
  readonly root: LiveRoot;
  readonly clock: Pick<Clock, 'utcMs'>;
  /** A new root key, on disk in every source when this resolves. */
  readonly renew: (generation: number) => Promise<RootRef>;
  /** The head over all records goes over to the current root key, before the one before is let go of. */
  readonly resealHead: () => Promise<Result<void>>;
  /** The key of this name is the one from now on; may be called again after a crash. */
  readonly settle: (generation: number, root: string) => void;
  readonly report: (event: RotationEvent) => void;
  /** Between two pages, so that calls have the thread; 0 for a command. */
  readonly pauseMs: number;
  /** Time for which the root key before stays open, for calls that began with it. */
  readonly overlapMs: number;
}

export type RotationEvent =
  | { readonly kind: 'began' | 'resumed' | 'closed'; readonly generation: number }
  | { readonly kind: 'delayed'; readonly cause: unknown }
  | { readonly kind: 'done'; readonly entry: RootEntry };

export interface RotationProgress {
  readonly generation: number;
  readonly startedAtMs: number;
  /** Records that this pass has looked at, and the records when it began. */
  readonly done: number;
  readonly total: number;
}

interface PreparedRotation {
  readonly next: RootRef;
  readonly rotation: RotationEntry;
}

export interface RootState {
  readonly generation: number;
  readonly root: string;
  readonly rotatedAtMs: number | undefined;
  /** Undefined: nothing goes over. */
  readonly rotation: RotationProgress | undefined;
}

const retryMs = 500;
/** The generation before the first rotation. */
const firstGeneration = 1;

const underWay = refuse('Conflict', 'the root key is being rotated already');
const waitsForStart = refuse('Conflict', 'a rotation that the store holds begins with the next start');
const sameKey = refuse('Conflict', 'the next root key is the one that every record is under');
const closing = refuse(
  'Conflict',
  'calls that began before the last rotation may still end: wait a minute',
  60_000,
);

/**
 * Rotates the root key of a store, in a running service or in a stopped one. docs/root-keys.md says why each step may be the last
 * before a crash.
 */
export class RootRotation {
  readonly #parts: RotationParts;
  readonly #stop = new AbortController();
  #generation = firstGeneration;
  #rotatedAtMs: number | undefined;
  #name: string;
  #progress: RotationProgress | undefined;
  #running: Promise<void> | undefined;

  /** Opens the rotation of a store whose root key is open. Throws a StartError. */
  static async open(parts: RotationParts): Promise<RootRotation> {
    const made = new RootRotation(parts);
    const entry = await readRootEntry(parts.store, parts.root.mac);
    if (entry !== undefined) {
      made.#generation = entry.value.generation;
      made.#rotatedAtMs = entry.value.rotatedAtMs;
    }
    if (parts.root.before === undefined) parts.settle(made.#generation, made.#name);
    else parts.store.goOver(made.#reseal());
    return made;
  }

  private constructor(parts: RotationParts) {
    this.#parts = parts;
    this.#name = rootName(parts.engine, parts.root.before ?? parts.root.current);
  }

  get state(): RootState {
    return {
      ...{ generation: this.#generation, root: this.#name, rotatedAtMs: this.#rotatedAtMs },
      rotation: this.#progress,
    };
  }

  /** Goes on with a rotation that was cut off, if there is one. */
  async resume(): Promise<void> {
    const found = await readRotation(this.#parts.store);
    if (found === undefined) return;
    this.#parts.report({ kind: 'resumed', generation: found.value.generation });
    this.#run(found.value);
  }

  /**
   * Resolves when records begin to go over. From then on the rotation goes on by itself, after restarts too. Conflict: one is
   * under way; or, with its words, a source cannot have a new key.
   */
  async begin(actor: string): Promise<Result<RotationProgress>> {
    if (this.#progress !== undefined) return underWay;
    const { store, root, clock, report } = this.#parts;
    if (root.before !== undefined) return closing;
    // A commit that was refused may have happened all the same, and its key must stay.
    if ((await readRotation(store)) !== undefined) return waitsForStart;
    const [generation, startedAtMs] = [this.#generation + 1, clock.utcMs()];
    this.#progress = { generation, startedAtMs, done: 0, total: 0 };
    let prepared: Result<PreparedRotation> | undefined;
    try {
      prepared = await this.#prepare({ generation, actor, startedAtMs });
    } finally {
      if (!prepared?.ok) this.#progress = undefined;
    }
    if (!prepared.ok) return prepared;
    await root.goOver(prepared.value.next);
    store.goOver(this.#reseal());
    report({ kind: 'began', generation });
    return ok(this.#run(prepared.value.rotation));
  }

  /** Resolves when nothing is under way: a rotation is done, or was stopped. */
  async ended(): Promise<void> {
    await this.#running;
  }

  /** The next start goes on where this one stops. Idempotent. */
  async close(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  /** Every source has the next root key, and the store says that records go over to it. */
  async #prepare(
    wanted: Pick<RotationEntry, 'generation' | 'actor' | 'startedAtMs'>,
  ): Promise<Result<PreparedRotation>> {
    const { engine, renew } = this.#parts;
    let next: RootRef;
    try {
      next = await renew(wanted.generation);
    } catch (cause) {
      if (cause instanceof StartError) return refuse('Conflict', cause.message);
      throw cause;
    }
    const names = { before: this.#name, root: rootName(engine, next) };
    const rotation = { ...wanted, ...names, witness: newWitness(engine, next) };
    // No pass would ever find that all is done, and no start would find both of its keys.
    const refused = names.root === names.before ? sameKey : await this.#writeRotation(rotation);
    if (refused === undefined) return ok({ next, rotation });
    engine.closeRoot(next);
    return refused;
  }

  /** Nothing is sealed under the next key before the store says that it may be. */
  async #writeRotation(rotation: RotationEntry): Promise<Refused | undefined> {
    const outcome = await this.#parts.store.commit([rotationChange(rotation, 0)]);
    // A refused commit may have happened. Then the next start goes on with it, and this process with the old key.
    if (!outcome.ok) return outcome;
    return outcome.value.committed ? undefined : underWay;
  }

  #reseal(): Reseal {
    const { engine, root } = this.#parts;
    return createReseal({ engine, from: root.before, to: root.current, mac: root.mac });
  }

  #run(rotation: RotationEntry): RotationProgress {
    const { generation, startedAtMs } = rotation;
    const progress = { generation, startedAtMs, done: 0, total: 0 };
    this.#progress = progress;
    this.#running = this.#goOver(rotation);
    return progress;
  }

  /** Never rejects. */
  async #goOver(rotation: RotationEntry): Promise<void> {
    const { signal } = this.#stop;
    let records = 0;
    for (;;) {
      try {
        // The commits that were not yet resealed come before the barrier, and the pass behind it.
        if (await this.#barrier()) records += await this.#resealEveryRecord(rotation, signal);
        if (signal.aborted) return;
        await this.#finish(rotation, records);
        break;
      } catch (cause) {
        this.#parts.report({ kind: 'delayed', cause });
        await pause(retryMs, signal);
        if (signal.aborted) return;
      }
    }
    await pause(this.#parts.overlapMs, signal);
    if (signal.aborted) return;
    // A second refresh: a key that was made under the root key before may have been cached since.
    await this.#refresh();
    // Calls that began under the root key before have ended by now.
    this.#parts.store.goOver(undefined);
    await this.#parts.root.closeBefore();
    this.#parts.report({ kind: 'closed', generation: rotation.generation });
  }

  #resealEveryRecord({ generation, startedAtMs }: RotationEntry, signal: AbortSignal): Promise<number> {
    const { store, pauseMs } = this.#parts;
    const onProgress = (done: number, total: number) => {
      this.#progress = { generation, startedAtMs, done, total };
    };
    return resealEveryRecord({ store, pauseMs, reseal: this.#reseal(), onProgress }, signal);
  }

  /** Commits the rotation's entry again. False: it is gone, as the last step was refused and has happened. */
  async #barrier(): Promise<boolean> {
    const found = await readRotation(this.#parts.store);
    if (found === undefined) return false;
    const outcome = await this.#parts.store.commit([rotationChange(found.value, found.revision)]);
    if (!outcome.ok || !outcome.value.committed) throw new Error('the store cannot be written');
    return true;
  }

  /** Writes that the store is under the next root key alone. */
  async #finish(rotation: RotationEntry, records: number): Promise<void> {
    const { store, root, clock, resealHead, settle, report } = this.#parts;
    const { generation, before, actor } = rotation;
    const entry: RootEntry = {
      ...{ generation, before, actor, records, root: rotation.root },
      ...{ rotatedAtMs: clock.utcMs(), recorded: false },
    };
    const resealed = await resealHead();
    if (!resealed.ok) {
      const { code, hint } = resealed.failure;
      throw new Error(`the head of the store cannot be sealed anew: ${hint ?? failures[code].message}`);
    }
    const outcome = await store.commit([
      { key: witnessKey, value: rotation.witness },
      { key: rotationKey, value: undefined },
      rootEntryChange(entry, root.mac),
    ]);
    if (!outcome.ok || !outcome.value.committed) throw new Error('the store cannot be written');
    this.#generation = generation;
    this.#name = rotation.root;
    this.#rotatedAtMs = entry.rotatedAtMs;
    this.#progress = undefined;
    try {
      settle(generation, rotation.root);
    } catch (cause) {
      // The next start does it; until then the key lies beside its place.
      report({ kind: 'delayed', cause });
    }
    await this.#refresh();
    report({ kind: 'done', entry });
  }

  /** Takes all that is in memory over to the next root key. */
  async #refresh(): Promise<void> {
    const { engine, root } = this.#parts;
    const [from, to] = [root.before, root.current];
    await root.refresh((reference) => resealReference({ engine, from, to }, reference));
  }
}

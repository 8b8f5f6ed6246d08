import { setTimeout as delay } from 'node:timers/promises';
import type { Clock } from '../../core/clock.ts';
import { failures } from '../../core/failure.ts';
import { ok, type Result, refuse } from '../../core/result.ts';
import { StartError } from '../../core/start-error.ts';
import type { Engine, RootRef } from '../../engine/engine.ts';
import type { StoreEntry } from '../../store/store.ts';
import { type LiveRoot, rootName } from './live-root.ts';
import { newWitness } from './open-for-store.ts';
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
  /** The root key before stays open so long for calls that began with it. */
  readonly overlapMs: number;
}

export type RotationEvent =
  | { readonly kind: 'began' | 'resumed' | 'closed'; readonly generation: number }
  | { readonly kind: 'delayed'; readonly cause: unknown }
  | { readonly kind: 'done'; readonly entry: RootEntry };

export interface RotationProgress {
  readonly generation: number;
  readonly startedAtMs: number;
  /** Records of the store that this pass has looked at, and those that there were when it began. */
  readonly done: number;
  readonly total: number;
}

export interface RootState {
  readonly generation: number;
  readonly root: string;
  readonly rotatedAtMs: number | undefined;
  /** Undefined: nothing goes over. */
  readonly rotation: RotationProgress | undefined;
}

/** About 1 ms of the main thread, as long as decoding as many. */
const recordsPerPage = 32;
const countedPerPage = 1_000;
const retryMs = 500;
/** Before the first rotation. */
const firstGeneration = 1;

const underWay = refuse('Conflict', 'the root key is being rotated already');
const waitsForStart = refuse('Conflict', 'a rotation that the store holds begins with the next start');
const closing = refuse(
  'Conflict',
  'calls that began before the last rotation may still end: wait a minute',
  60_000,
);

/**
 * Replaces the root key of a store, in a service that goes on or in one that is stopped. docs/root-keys.md says why every step may
 * be the last before a crash.
 */
export class RootRotation {
  readonly #parts: RotationParts;
  readonly #stop = new AbortController();
  #generation = firstGeneration;
  #rotatedAtMs: number | undefined;
  #name: string;
  #progress: RotationProgress | undefined;
  #running: Promise<void> | undefined;

  /** Of a store whose root key is open. Throws a StartError. */
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

  /** Goes on with a rotation that was cut off; nothing where there is none. */
  async resume(): Promise<void> {
    const found = await readRotation(this.#parts.store);
    if (found === undefined) return;
    this.#parts.report({ kind: 'resumed', generation: found.value.generation });
    this.#run(found.value);
  }

  /**
   * Resolves when records begin to go over: from then on the rotation goes on by itself, after restarts too. Conflict while one is
   * under way; NotReady, with the words of the source, where a source cannot have a new key.
   */
  async begin(actor: string): Promise<Result<RotationProgress>> {
    if (this.#progress !== undefined) return underWay;
    if (this.#parts.root.before !== undefined) return closing;
    const { engine, store, root, clock } = this.#parts;
    // A commit that was refused may have happened all the same, and its key must stay.
    if ((await readRotation(store)) !== undefined) return waitsForStart;
    const generation = this.#generation + 1;
    const startedAtMs = clock.utcMs();
    this.#progress = { generation, startedAtMs, done: 0, total: 0 };
    let next: RootRef;
    try {
      next = await this.#parts.renew(generation);
    } catch (cause) {
      this.#progress = undefined;
      if (cause instanceof StartError) return refuse('Conflict', cause.message);
      throw cause;
    }
    const rotation: RotationEntry = {
      ...{ generation, actor, startedAtMs, before: this.#name, root: rootName(engine, next) },
      witness: newWitness(engine, next),
    };
    // Nothing is sealed under the next key before the store says that it may be.
    const outcome = await store.commit([rotationChange(rotation, 0)]);
    if (!outcome.ok || !outcome.value.committed) {
      // It may have happened all the same: then the next start goes on with it, and this process with the old key.
      this.#progress = undefined;
      engine.closeRoot(next);
      return outcome.ok ? underWay : outcome;
    }
    await root.goOver(next);
    store.goOver(this.#reseal());
    this.#parts.report({ kind: 'began', generation });
    this.#run(rotation);
    return ok(this.#progress);
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

  #reseal(): Reseal {
    const { engine, root } = this.#parts;
    return createReseal({ engine, from: root.before, to: root.current, mac: root.mac });
  }

  #run(rotation: RotationEntry): void {
    const { generation, startedAtMs } = rotation;
    this.#progress = { generation, startedAtMs, done: 0, total: 0 };
    this.#running = this.#goOver(rotation);
  }

  /** Never rejects. */
  async #goOver(rotation: RotationEntry): Promise<void> {
    const { signal } = this.#stop;
    let records = 0;
    for (;;) {
      try {
        records += await this.#everyRecord(signal);
        if (signal.aborted) return;
        await this.#finish(rotation, records);
        break;
      } catch (cause) {
        this.#parts.report({ kind: 'delayed', cause });
        await this.#wait(retryMs);
        if (signal.aborted) return;
      }
    }
    await this.#wait(this.#parts.overlapMs);
    if (signal.aborted) return;
    // Once more: a key that was made under the root key before may have come into memory since.
    await this.#refresh();
    // Calls of before have ended by now.
    this.#parts.store.goOver(undefined);
    await this.#parts.root.closeBefore();
    this.#parts.report({ kind: 'closed', generation: rotation.generation });
  }

  /** Passes over the store until one finds nothing under the root key before; gives the number of records that were under it. */
  async #everyRecord(signal: AbortSignal): Promise<number> {
    // Commits of before, which were not yet sealed anew, come before this one, and the pass behind it.
    if (!(await this.#barrier())) return 0;
    let records = 0;
    for (;;) {
      const found = await this.#pass(signal);
      records += found;
      if (found === 0 || signal.aborted) return records;
    }
  }

  /** False: the last step was refused, and has happened. */
  async #barrier(): Promise<boolean> {
    const found = await readRotation(this.#parts.store);
    if (found === undefined) return false;
    const outcome = await this.#parts.store.commit([rotationChange(found.value, found.revision)]);
    if (!outcome.ok || !outcome.value.committed) throw new Error('the store cannot be written');
    return true;
  }

  async #pass(signal: AbortSignal): Promise<number> {
    const reseal = this.#reseal();
    let found = 0;
    let done = 0;
    const total = await this.#count(signal);
    for await (const page of this.#pages(recordsPerPage, signal)) {
      found += await this.#page(page, reseal);
      done += page.length;
      this.#progress = { ...(this.#progress as RotationProgress), done, total: Math.max(total, done) };
      if (this.#parts.pauseMs > 0) await this.#wait(this.#parts.pauseMs);
    }
    return found;
  }

  async #page(page: readonly StoreEntry[], reseal: Reseal): Promise<number> {
    const changes = page.flatMap(({ key, value, revision }) => {
      const anew = reseal(key, value);
      return anew === undefined ? [] : [{ key, value: anew, expectedRevision: revision }];
    });
    if (changes.length === 0) return 0;
    const outcome = await this.#parts.store.rewrite(changes);
    if (!outcome.ok) throw new Error('the store cannot be written');
    if (outcome.value.committed) return changes.length;
    // One of them was changed meanwhile, and so is sealed anew already: the next pass sees that it is.
    for (const change of changes) {
      const alone = await this.#parts.store.rewrite([change]);
      if (!alone.ok) throw new Error('the store cannot be written');
    }
    return changes.length;
  }

  /** The store is under the next root key alone, and says so. */
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

  /** Nothing that is in memory needs the root key before any more. */
  async #refresh(): Promise<void> {
    const { engine, root } = this.#parts;
    const [from, to] = [root.before, root.current];
    await root.refresh((reference) => resealReference({ engine, from, to }, reference));
  }

  async #count(signal: AbortSignal): Promise<number> {
    let total = 0;
    for await (const page of this.#pages(countedPerPage, signal)) total += page.length;
    return total;
  }

  async *#pages(limit: number, signal: AbortSignal): AsyncGenerator<readonly StoreEntry[]> {
    let after: string | undefined;
    while (!signal.aborted) {
      const page = await this.#parts.store.list({ prefix: '', limit, ...(after && { after }) });
      if (!page.ok) throw new Error('the store does not answer');
      yield page.value;
      if (page.value.length < limit) return;
      after = page.value.at(-1)?.key;
      // So that calls and signals are heard: there may be millions.
      await new Promise(setImmediate);
    }
  }

  /** Ends early when the rotation is to stop. */
  async #wait(ms: number): Promise<void> {
    try {
      await delay(ms, undefined, { signal: this.#stop.signal, ref: false });
    } catch {
      // The caller looks at the signal.
    }
  }
}

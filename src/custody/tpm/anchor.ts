import { hash, randomBytes } from 'node:crypto';
import { type Static, Type } from '@sinclair/typebox';
import { TypeCompiler } from '@sinclair/typebox/compiler';
import { StartError } from '../../core/start-error.ts';
import type { Store } from '../../store/store.ts';
import type { TpmDevice } from './device.ts';
import { TpmError } from './errors.ts';
import { responseCodes } from './numbers.ts';
import {
  type CounterPlace,
  defineCounter,
  incrementCounter,
  isDefined,
  readCounter,
  undefineCounter,
} from './nv-counter.ts';

/**
 * A counter in a TPM that only grows, and that a put-back data directory cannot follow. The audit log has its anchor in the
 * store, so that the counter guards both. The store takes the next value first, on disk, and then the TPM counts: a crash between
 * the two leaves the store one ahead. A store that is behind was put back; one that is further ahead has another counter.
 */
export const tpmAnchorEntry = 'meta/tpm-counter';

/**
 * A TPM endures some 100,000 increments (TCG PC Client Platform TPM Profile, 4.6.2): ten weeks of constant change, at one a
 * minute.
 */
const intervalMs = 60_000;
const authBytes = 32;

const record = Type.Object(
  {
    v: Type.Literal(1),
    index: Type.Integer({ minimum: 0x0100_0000, maximum: 0x01ff_ffff }),
    parent: Type.String({ pattern: '^[0-9a-f]{68}$' }),
    /** Authorization value of the counter, hex: it reads and increments, and does nothing else. */
    auth: Type.String({ pattern: '^[0-9a-f]{64}$' }),
    value: Type.Integer({ minimum: 1 }),
  },
  { additionalProperties: false },
);
const compiled = TypeCompiler.Compile(record);
type AnchorRecord = Static<typeof record>;

/** The store and the counter do not belong together. `id`: 16 hex digits, which stay while both stay. */
export interface AnchorFailure {
  readonly id: string;
  readonly detail: string;
}

export interface TpmAnchorParts {
  readonly device: TpmDevice;
  readonly index: number;
  readonly store: Store;
  /** Returns if an operator has accepted this failure. Throws a StartError otherwise. */
  accept(failure: AnchorFailure): void;
  /** Told when the TPM stops counting, with the problem, and when it counts again. */
  report(problem: string | undefined): void;
}

/** Increments the counter while the store changes: at most once a minute, and at the end. */
export class TpmAnchor {
  readonly #parts: TpmAnchorParts;
  #record: AnchorRecord;
  #changed = false;
  #problem: string | undefined;
  #counting: Promise<void> = Promise.resolve();
  readonly #timer: NodeJS.Timeout;
  readonly #unwatch: () => void;

  /** Throws a StartError: the store was put back and nobody has accepted that, or the TPM does not answer. */
  static async open(parts: TpmAnchorParts): Promise<TpmAnchor> {
    try {
      return new TpmAnchor(parts, await checked(parts));
    } catch (cause) {
      if (!(cause instanceof TpmError)) throw cause;
      throw new StartError(
        `the TPM that counts for the store: ${cause.message}. Without it nobody can say whether the store was put back; to go on without: KMS_TPM_COUNTER=none`,
        { cause },
      );
    }
  }

  private constructor(parts: TpmAnchorParts, found: AnchorRecord) {
    this.#parts = parts;
    this.#record = found;
    this.#timer = setInterval(() => void this.count(), intervalMs).unref();
    this.#unwatch = parts.store.watch('', ({ key }) => {
      if (key !== tpmAnchorEntry) this.#changed = true;
    });
  }

  /** The problem that keeps it from counting. Undefined: it counts. */
  get problem(): string | undefined {
    return this.#problem;
  }

  /** Counts once if the store has changed since it did last. Never rejects. */
  count(): Promise<void> {
    this.#counting = this.#counting.then(() => this.#count());
    return this.#counting;
  }

  /** Counts the last changes. Idempotent. */
  async close(): Promise<void> {
    clearInterval(this.#timer);
    this.#unwatch();
    await this.count();
  }

  async #count(): Promise<void> {
    if (!this.#changed) return;
    this.#changed = false;
    try {
      await this.#parts.device.use(async (client) => {
        const { value } = await readCounter(client, placeOf(this.#record));
        const { value: known } = this.#record;
        // The store is one ahead where the TPM did not count the last time.
        if (value !== known && value !== known - 1)
          throw new TpmError(
            `the counter of the TPM is at ${value}, and the store knows of ${known}: somebody else counts by it, or has replaced it`,
            responseCodes.value,
          );
        // The store knows the value before the TPM counts: the TPM's answer may be lost.
        if (value === known)
          this.#record = await saved(this.#parts.store, { ...this.#record, value: value + 1 });
        await incrementCounter(client, placeOf(this.#record));
      });
      this.#note(undefined);
    } catch (cause) {
      this.#changed = true;
      this.#note(cause instanceof Error ? cause.message : 'it does not count');
    }
  }

  #note(problem: string | undefined): void {
    if (problem !== this.#problem) this.#parts.report(problem);
    this.#problem = problem;
  }
}

function placeOf({ index, parent, auth }: AnchorRecord): CounterPlace {
  return { index, parent, auth: Buffer.from(auth, 'hex') };
}

async function checked(parts: TpmAnchorParts): Promise<AnchorRecord> {
  const { device, store, index } = parts;
  const found = await load(store);
  if (found !== undefined && found.index !== index) {
    parts.accept(failureIn(movedDetail(found.index, index), [found, await counterState(device, index)]));
    return provide(device, store, index);
  }
  const state = await counterState(device, index, found);
  const failure = failureOf(found, state);
  if (failure === undefined && found !== undefined && typeof state === 'number') {
    if (found.value > state) await device.use((client) => incrementCounter(client, placeOf(found)));
    return found;
  }
  if (failure !== undefined) parts.accept(failure);
  if (found !== undefined && typeof state === 'number' && found.value < state)
    return saved(store, { ...found, value: state });
  return provide(device, store, index);
}

type CounterState = number | 'missing' | 'unknown' | 'none';

/** `missing`: it is not there, or not ours any more. `unknown`: the TPM has one that the store does not know. */
async function counterState(device: TpmDevice, index: number, found?: AnchorRecord): Promise<CounterState> {
  return device.use(async (client) => {
    if (found === undefined) return (await isDefined(client, index)) ? 'unknown' : 'none';
    try {
      return (await readCounter(client, placeOf(found))).value;
    } catch (cause) {
      if (cause instanceof TpmError && notOurs.has(cause.code)) return 'missing';
      throw cause;
    }
  });
}

const notOurs = new Set<number | undefined>([
  ...[responseCodes.handle, responseCodes.integrity, responseCodes.authFail],
  ...[responseCodes.badAuth, responseCodes.nvUninitialized],
]);

function failureOf(found: AnchorRecord | undefined, state: CounterState): AnchorFailure | undefined {
  const detail = detailOf(found?.value, state);
  if (detail === undefined) return undefined;
  return failureIn(detail, [found ?? 'none', state]);
}

/** `looked`: the facts that it was judged by. */
function failureIn(detail: string, looked: unknown): AnchorFailure {
  return { id: hash('sha256', JSON.stringify(looked), 'hex').slice(0, 16), detail };
}

function movedDetail(before: number, now: number): string {
  const named = (index: number) => `0x${index.toString(16).padStart(8, '0')}`;
  return `its counter is at ${named(before)}, and KMS_TPM_COUNTER says ${named(now)}`;
}

function detailOf(value: number | undefined, state: CounterState): string | undefined {
  if (state === 'none') return undefined;
  if (state === 'unknown')
    return 'the TPM has a counter that it does not know: it is an older copy, or of another service';
  if (state === 'missing' || value === undefined)
    return 'the TPM does not have its counter: it is another TPM, or it was cleared';
  if (value < state) return `it was put back: the TPM has counted to ${state}, and it knows of ${value}`;
  return value > state + 1
    ? `the counter of the TPM went back: it is at ${state}, and the store knows of ${value}`
    : undefined;
}

/** Defines the counter anew, in the place of the one at the index. The TPM begins above all that it ever counted. */
async function provide(device: TpmDevice, store: Store, index: number): Promise<AnchorRecord> {
  const auth = randomBytes(authBytes);
  const place: CounterPlace = { index, parent: undefined, auth };
  const { value, parent } = await device.use(async (client) => {
    await undefineCounter(client, place);
    await defineCounter(client, place);
    return readCounter(client, place);
  });
  return saved(store, { v: 1, index, parent, auth: auth.toString('hex'), value });
}

async function load(store: Store): Promise<AnchorRecord | undefined> {
  const found = await store.get(tpmAnchorEntry);
  if (!found.ok) throw new StartError('the store does not answer');
  if (found.value === undefined) return undefined;
  const parsed: unknown = JSON.parse(Buffer.from(found.value.value).toString());
  if (!compiled.Check(parsed))
    throw new StartError('what the store knows of its counter in a TPM cannot be read');
  return parsed;
}

/** Puts the record, which is on disk when it resolves. */
async function saved(store: Store, next: AnchorRecord): Promise<AnchorRecord> {
  const committed = await store.commit([{ key: tpmAnchorEntry, value: Buffer.from(JSON.stringify(next)) }]);
  if (!committed.ok) throw new StartError('the store cannot be written');
  return next;
}

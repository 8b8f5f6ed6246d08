import type { Ability } from '../../algorithms/ids.ts';
import type { Clock } from '../../core/clock.ts';
import { ok, type Refused, type Result, refuse } from '../../core/result.ts';
import { Contact } from '../contact.ts';
import type { HomeContact } from '../custody.ts';
import {
  type Answered,
  type Asked,
  type Away,
  libraryMissing,
  type OpenedToken,
  type TokenSettings,
} from './protocol.ts';
import { lacksOf } from './schemes.ts';
import { moduleHangs, startWorkerProcess, type WorkerProcess } from './worker-process.ts';

export interface ConnectionOptions {
  readonly settings: TokenSettings;
  readonly clock: Clock;
  /** workers/hsm.ts. */
  readonly entry: URL;
  readonly allowCoreDumps: boolean;
  /** The variables that the module finds: modules have settings of their own there. */
  readonly environment: NodeJS.ProcessEnv;
}

export interface TokenAbilities {
  /** Undefined before it has been open once. */
  readonly listed: ReadonlySet<number> | undefined;
  readonly lacks: ReadonlySet<Ability>;
}

/** Sessions that are idle for 2 s are dropped by some modules: each hears from us in half of that, in milliseconds. */
const keepAliveMs = 1_000;
/** A module may wait for a network to open; a start of the service waits for it. */
const openLimitMs = 10_000;
/** Between two tries to open the token again, in milliseconds: doubled each time. */
const leastRetryMs = 250;
const mostRetryMs = 5_000;

/**
 * The way to one token: a worker that is started again when it ends, and a breaker. Once the token is away, nothing more is sent
 * to it until it was opened anew; what is asked meanwhile is refused at once.
 */
export class TokenConnection {
  readonly #options: ConnectionOptions;
  readonly #contact: Contact;
  #worker: WorkerProcess | undefined;
  #opened: OpenedToken | undefined;
  #abilities: TokenAbilities = { listed: undefined, lacks: lacksOf(new Set()) };
  #refusedPin: string | undefined;
  #timer: NodeJS.Timeout | undefined;
  #retryMs = leastRetryMs;
  #opening: Promise<void> | undefined;
  #closed = false;

  constructor(options: ConnectionOptions) {
    this.#options = options;
    this.#contact = new Contact(options.clock);
  }

  get contact(): HomeContact {
    return this.#contact;
  }

  /** What it said when it was opened last; undefined before the first time. */
  get opened(): OpenedToken | undefined {
    return this.#opened;
  }

  /** Of the token as it was opened last. */
  get abilities(): TokenAbilities {
    return this.#abilities;
  }

  /** One try; further ones follow by themselves. */
  open(): Promise<void> {
    this.#contact.trying = true;
    this.#opening ??= this.#tryToOpen().finally(() => {
      this.#opening = undefined;
      this.#contact.trying = false;
    });
    return this.#opening;
  }

  /** Tries a refused PIN again: an operator says so. */
  retryPin(): void {
    if (this.#contact.up || this.#refusedPin === undefined) return;
    this.#refusedPin = undefined;
    this.#schedule(0);
  }

  /** StoreUnavailable, at once where the token is known to be away. */
  async ask(asked: Asked, limitMs?: number): Promise<Result<Exclude<Answered, Away>>> {
    const worker = this.#worker;
    if (!this.#contact.up || worker === undefined) return this.unavailable();
    let answered: Answered;
    try {
      answered = await worker.ask(asked, limitMs);
    } catch (error) {
      this.#noteEnd(error as Error);
      this.#lose((error as Error).message, worker);
      return this.unavailable();
    }
    this.#noteTimeouts(answered);
    if (answered.kind === 'away') {
      this.#lose(answered.reason, worker, answered.refusedPin);
      return this.unavailable();
    }
    if (answered.kind === 'ran' && answered.away !== undefined)
      this.#lose(answered.away.reason, worker, answered.away.refusedPin);
    else if (this.#worker === worker && this.#contact.up) this.#contact.made();
    return ok(answered);
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer);
    await this.#opening;
    clearTimeout(this.#timer);
    await this.#worker?.close();
  }

  #noteTimeouts(answered: Answered): void {
    const away = answered.kind === 'ran' ? answered.calls : [answered];
    for (const each of away)
      if ('kind' in each && each.kind === 'away' && each.timedOut) this.#contact.timeouts++;
  }

  #noteEnd({ message }: Error): void {
    if (message === moduleHangs) this.#contact.timeouts++;
  }

  /** The breaker opens. What is under way comes back by itself. */
  #lose(reason: string, worker: WorkerProcess, refusedPin?: string): void {
    if (refusedPin !== undefined) this.#refusedPin = refusedPin;
    if (this.#closed || worker !== this.#worker || !this.#contact.up) return;
    this.#contact.lost(reason);
    this.#retryMs = leastRetryMs;
    this.#schedule(this.#retryMs);
  }

  /** The refusal while the token is away. */
  unavailable(): Refused {
    const hint =
      this.#contact.reason === libraryMissing ? libraryMissing : 'the backend of this key does not answer';
    return refuse('StoreUnavailable', hint, this.#retryMs);
  }

  #schedule(inMs: number): void {
    clearTimeout(this.#timer);
    if (this.#closed) return;
    this.#timer = setTimeout(() => void this.#tick(), inMs).unref();
  }

  async #tick(): Promise<void> {
    if (!this.#contact.up) return this.open();
    // A loss schedules by itself.
    const well = await this.ask({ kind: 'probe' });
    if (well.ok && this.#contact.up) this.#schedule(keepAliveMs);
  }

  async #tryToOpen(): Promise<void> {
    const { settings } = this.#options;
    try {
      this.#worker = this.#worker?.alive === true ? this.#worker : this.#start();
      const worker = this.#worker;
      const asked: Asked = { kind: 'open', settings, refusedPin: this.#refusedPin };
      const answered = await worker.ask(asked, openLimitMs);
      if (answered.kind === 'opened') {
        this.#refusedPin = undefined;
        this.#opened = answered;
        const listed = new Set(answered.mechanisms);
        this.#abilities = { listed, lacks: lacksOf(listed) };
        this.#retryMs = leastRetryMs;
        this.#contact.made();
        this.#schedule(keepAliveMs);
        return;
      }
      if (answered.kind === 'away') {
        this.#refusedPin = answered.refusedPin ?? this.#refusedPin;
        this.#noteTimeouts(answered);
        this.#contact.lost(answered.reason);
      }
    } catch (error) {
      this.#noteEnd(error as Error);
      this.#contact.lost((error as Error).message);
    }
    this.#retryMs = Math.min(mostRetryMs, this.#retryMs * 2);
    this.#schedule(this.#retryMs);
  }

  #start(): WorkerProcess {
    const { settings, entry, allowCoreDumps, environment } = this.#options;
    const descriptor = /^fd:(\d+)$/.exec(settings.pinFile)?.[1];
    const worker = startWorkerProcess({
      ...{ entry, allowCoreDumps, environment, sessions: settings.sessions },
      pinDescriptor: descriptor === undefined ? undefined : Number(descriptor),
      onEnd: (how) => this.#lose(how, worker),
    });
    return worker;
  }
}

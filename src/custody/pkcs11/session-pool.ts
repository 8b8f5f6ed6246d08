import { TokenAway } from './away.ts';
import { type Cryptoki, codeOf, type Handle } from './cryptoki.ts';
import { sessionDeaths } from './numbers.ts';

/** An operation under way, or one that waits for a session. Plain callbacks: this is done for each signature. */
interface Operation {
  readonly does: (session: Handle) => unknown;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: unknown) => void;
  readonly limitMs: number;
  /** By performance.now(); of one that has a session. */
  endsAtMs: number;
  answered: boolean;
}

/** Operations that are late are looked for so often: one timer for all of them, in milliseconds. */
const lookEveryMs = 50;

/** Idle sessions are opened as they are needed, up to the most; each does one operation at a time. */
export class SessionPool {
  readonly #cryptoki: Cryptoki;
  readonly #open: () => Handle;
  readonly #most: number;
  readonly #idle: Handle[] = [];
  readonly #waiting: Operation[] = [];
  readonly #busy = new Set<Operation>();
  readonly #timer: NodeJS.Timeout;
  #all = 1;
  #onIdle: (() => void) | undefined;
  #ended = false;

  /** `first`: one that is open, and logged in. */
  constructor(cryptoki: Cryptoki, open: () => Handle, most: number, first: Handle) {
    this.#cryptoki = cryptoki;
    this.#open = open;
    this.#most = most;
    this.#idle.push(first);
    this.#timer = setInterval(() => this.#look(), lookEveryMs).unref();
  }

  isDeath(error: unknown): boolean {
    return sessionDeaths.has(codeOf(error) ?? 0);
  }

  /** Throws TokenAway when the time is over; the session is then nobody's until the operation comes back. */
  use<T>(does: (session: Handle) => T | Promise<T>, limitMs: number): Promise<T> {
    return new Promise((resolve, reject) => {
      const operation: Operation = {
        ...{ does, resolve: resolve as (value: unknown) => void, reject },
        ...{ limitMs, endsAtMs: 0, answered: false },
      };
      if (this.#ended) reject(new TokenAway('it is being opened again'));
      else this.#begin(operation);
    });
  }

  #begin(operation: Operation): void {
    let session = this.#idle.pop();
    if (session === undefined) {
      if (this.#all >= this.#most) {
        this.#waiting.push(operation);
        return;
      }
      try {
        session = this.#open();
        this.#all++;
      } catch (error) {
        operation.reject(error);
        return;
      }
    }
    this.#run(operation, session);
  }

  #run(operation: Operation, session: Handle): void {
    operation.endsAtMs = performance.now() + operation.limitMs;
    this.#busy.add(operation);
    let made: unknown;
    try {
      made = operation.does(session);
    } catch (error) {
      this.#failed(operation, session, error);
      return;
    }
    if (!(made instanceof Promise)) {
      this.#done(operation, session, made);
      return;
    }
    made.then(
      (value) => this.#done(operation, session, value),
      (error) => this.#failed(operation, session, error),
    );
  }

  #done(operation: Operation, session: Handle, value: unknown): void {
    this.#busy.delete(operation);
    operation.resolve(value);
    this.#give(session);
  }

  #failed(operation: Operation, session: Handle, error: unknown): void {
    this.#busy.delete(operation);
    if (this.isDeath(error)) this.#bury(session);
    else this.#give(session);
    operation.reject(error);
  }

  #give(session: Handle): void {
    const next = this.#waiting.shift();
    if (next !== undefined) {
      this.#run(next, session);
      return;
    }
    this.#idle.push(session);
    if (this.#busy.size === 0) this.#onIdle?.();
  }

  #bury(session: Handle): void {
    this.#all--;
    try {
      this.#cryptoki.C_CloseSession(session);
    } catch {
      // It is gone.
    }
    const next = this.#waiting.shift();
    if (next !== undefined) this.#begin(next);
    else if (this.#busy.size === 0) this.#onIdle?.();
  }

  /** Whoever waits for a session waits for such as those that are late. */
  #look(): void {
    const nowMs = performance.now();
    for (const operation of this.#busy) {
      if (operation.answered || operation.endsAtMs > nowMs) continue;
      operation.answered = true;
      const error = new TokenAway(`no answer within ${operation.limitMs} ms`, { timedOut: true });
      operation.reject(error);
      for (const { reject } of this.#waiting.splice(0)) reject(error);
    }
  }

  /** A sign of life for each that is idle. One that has died is forgotten, and another opened when it is needed. */
  keepAlive(): void {
    for (const session of this.#idle.splice(0)) {
      try {
        this.#cryptoki.C_GetSessionInfo(session);
        this.#idle.push(session);
      } catch (error) {
        if (!this.isDeath(error)) throw error;
        this.#all--;
      }
    }
    if (this.#all === 0) {
      this.#idle.push(this.#open());
      this.#all = 1;
    }
  }

  /** Takes nothing more; resolves to true when nothing is under way. */
  async drain(): Promise<true> {
    this.#ended = true;
    for (const { reject } of this.#waiting.splice(0)) reject(new TokenAway('it is being opened again'));
    if (this.#busy.size > 0)
      await new Promise<void>((resolve) => {
        this.#onIdle = resolve;
      });
    clearInterval(this.#timer);
    return true;
  }
}

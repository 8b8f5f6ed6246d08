import { TokenAway } from './away.ts';
import { type Cryptoki, codeOf, type Handle } from './cryptoki.ts';
import { sessionDeaths } from './numbers.ts';

/** Idle sessions are opened as they are needed, up to the most; each does one operation at a time. */
export class SessionPool {
  readonly #cryptoki: Cryptoki;
  readonly #open: () => Handle;
  readonly #most: number;
  readonly #idle: Handle[] = [];
  readonly #waiting: { readonly take: (session: Handle) => void; readonly fail: (error: Error) => void }[] =
    [];
  #all = 1;
  #busy = 0;
  #onIdle: (() => void) | undefined;
  #ended = false;

  /** `first`: one that is open, and logged in. */
  constructor(cryptoki: Cryptoki, open: () => Handle, most: number, first: Handle) {
    this.#cryptoki = cryptoki;
    this.#open = open;
    this.#most = most;
    this.#idle.push(first);
  }

  isDeath(error: unknown): boolean {
    return sessionDeaths.has(codeOf(error) ?? 0);
  }

  /** Throws TokenAway when the time is over; the session is then nobody's until the operation comes back. */
  async use<T>(does: (session: Handle) => T | Promise<T>, limitMs: number): Promise<T> {
    const session = await this.#take();
    this.#busy++;
    let late = false;
    let timer: NodeJS.Timeout | undefined;
    const work = this.#run(does, session);
    const over = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        late = true;
        const error = new TokenAway(`no answer within ${limitMs} ms`, { timedOut: true });
        // Whoever waits for a session waits for such as this one.
        for (const { fail } of this.#waiting.splice(0)) fail(error);
        reject(error);
      }, limitMs);
    });
    try {
      return await Promise.race([work, over]);
    } finally {
      clearTimeout(timer);
      if (late) work.catch(() => {});
    }
  }

  async #run<T>(does: (session: Handle) => T | Promise<T>, session: Handle): Promise<T> {
    let dead = false;
    try {
      return await does(session);
    } catch (error) {
      dead = this.isDeath(error);
      throw error;
    } finally {
      this.#busy--;
      if (dead) this.#bury(session);
      else this.#give(session);
      if (this.#busy === 0) this.#onIdle?.();
    }
  }

  #take(): Handle | Promise<Handle> {
    if (this.#ended) throw new TokenAway('it is being opened again');
    const idle = this.#idle.pop();
    if (idle !== undefined) return idle;
    if (this.#all < this.#most) {
      this.#all++;
      try {
        return this.#open();
      } catch (error) {
        this.#all--;
        throw error;
      }
    }
    return new Promise((take, fail) => this.#waiting.push({ take, fail }));
  }

  #give(session: Handle): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#idle.push(session);
    else next.take(session);
  }

  #bury(session: Handle): void {
    this.#all--;
    try {
      this.#cryptoki.C_CloseSession(session);
    } catch {
      // It is gone.
    }
    const next = this.#waiting.shift();
    if (next === undefined) return;
    this.#all++;
    try {
      next.take(this.#open());
    } catch (error) {
      this.#all--;
      next.fail(error as Error);
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
    for (const { fail } of this.#waiting.splice(0)) fail(new TokenAway('it is being opened again'));
    if (this.#busy > 0)
      await new Promise<void>((resolve) => {
        this.#onIdle = resolve;
      });
    return true;
  }
}

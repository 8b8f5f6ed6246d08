import { TpmClient } from './client.ts';
import { TpmError } from './errors.ts';
import { isShared, type TpmPlace } from './transport.ts';

/** Idle time after which a TPM that serves one program is let go, for others. */
const idleMs = 1_000;

/** The process's TPM: one piece of work at a time, over one connection that opens when it is needed. */
export class TpmDevice {
  readonly #place: TpmPlace;
  #client: TpmClient | undefined;
  #last: Promise<unknown> = Promise.resolve();
  #idle: NodeJS.Timeout | undefined;
  #waiting = 0;
  #closed = false;
  /** Grows with each connection: what was loaded over an earlier one is gone. */
  connections = 0;

  constructor(place: TpmPlace) {
    this.#place = place;
  }

  /** Throws a TpmError, beside what `work` throws. */
  use<T>(work: (client: TpmClient) => Promise<T>): Promise<T> {
    this.#waiting++;
    const done = this.#last.then(() => this.#use(work)).finally(() => this.#waiting--);
    this.#last = done.catch(() => {});
    return done;
  }

  /** Waits for what is under way. Idempotent. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#last;
    await this.#drop();
  }

  async #use<T>(work: (client: TpmClient) => Promise<T>): Promise<T> {
    clearTimeout(this.#idle);
    if (this.#closed) throw new TpmError('it is closed');
    try {
      return await work(await this.#connected());
    } catch (cause) {
      if (cause instanceof TpmError && cause.away) await this.#drop();
      throw cause;
    } finally {
      this.#idle = setTimeout(
        () => void (this.#waiting === 0 && !isShared(this.#place) && this.#drop()),
        idleMs,
      ).unref();
    }
  }

  async #connected(): Promise<TpmClient> {
    if (this.#client?.broken === true) await this.#drop();
    if (this.#client !== undefined) return this.#client;
    this.connections++;
    this.#client = await TpmClient.open(this.#place);
    return this.#client;
  }

  async #drop(): Promise<void> {
    clearTimeout(this.#idle);
    const client = this.#client;
    this.#client = undefined;
    await client?.close();
  }
}

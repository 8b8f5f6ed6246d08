import { setTimeout as sleep } from 'node:timers/promises';
import { refusedBy, TpmError } from './errors.ts';
import { capabilities, commands, responseCodes, tags } from './numbers.ts';
import type { Authorization } from './session.ts';
import { isShared, openTransport, type TpmPlace, type TpmTransport } from './transport.ts';
import { Reader, Writer } from './wire.ts';

/** An entity with its name (TPM 2.0 part 1, 16). The name of hierarchies, sessions and PCRs is the handle itself. */
export interface Named {
  readonly handle: number;
  readonly name: Uint8Array;
}

export interface Command {
  readonly code: number;
  readonly handles?: readonly Named[];
  /** Authorizations of the first handles, in their order. The first alone may encrypt. */
  readonly by?: Authorization | readonly [Authorization, Authorization];
  readonly parameters?: Buffer;
  /** True: the answer begins with a handle. */
  readonly givesHandle?: true;
  readonly limitMs?: number;
}

export interface Answer {
  /** 0: the answer has none. */
  readonly handle: number;
  readonly parameters: Reader;
}

/** RSA takes a small TPM half a second, a write to its memory a tenth. */
const limitMs = 5_000;
/** Limit of commands that make keys: a TPM may search primes of RSA for half a minute. */
export const makingLimitMs = 60_000;
/** Pauses before a command is sent again because the TPM asks for that: about a second in all. */
const againAfterMs = [20, 50, 100, 250, 500] as const;
const askAgain = new Set<number>([
  responseCodes.retry,
  responseCodes.yielded,
  responseCodes.testing,
  responseCodes.nvRate,
]);

/** A connection to a TPM. Commands are sent one after another. */
export class TpmClient {
  readonly #transport: TpmTransport;
  #last: Promise<unknown> = Promise.resolve();

  /** Throws a TpmError. */
  static async open(place: TpmPlace): Promise<TpmClient> {
    const client = new TpmClient(await openTransport(place));
    if (isShared(place)) return client;
    try {
      await flushAll(client);
      return client;
    } catch (cause) {
      await client.close();
      throw cause;
    }
  }

  constructor(transport: TpmTransport) {
    this.#transport = transport;
  }

  get broken(): boolean {
    return this.#transport.broken;
  }

  /** Throws a TpmError. */
  run(command: Command): Promise<Answer> {
    const run = this.#last.then(() => this.#run(command));
    this.#last = run.catch(() => {});
    return run;
  }

  async flush(handle: number): Promise<void> {
    await this.run({ code: commands.flushContext, parameters: new Writer().u32(handle).done() });
  }

  /** Flushes behind `use` whether or not it succeeds. */
  async using<T>(handle: number, use: () => Promise<T>): Promise<T> {
    try {
      return await use();
    } finally {
      // A TPM that went away has lost it; the error of `use` says so.
      await this.flush(handle).catch(() => {});
    }
  }

  async close(): Promise<void> {
    await this.#last;
    await this.#transport.close();
  }

  async #run(command: Command): Promise<Answer> {
    for (let attempt = 0; ; attempt++) {
      try {
        return await this.#once(command);
      } catch (cause) {
        const code = cause instanceof TpmError ? cause.code : undefined;
        const waitMs = againAfterMs[attempt];
        if (code === undefined || waitMs === undefined || !askAgain.has(code)) throw cause;
        await sleep(waitMs);
      }
    }
  }

  async #once({
    code,
    handles = [],
    by,
    parameters = Buffer.alloc(0),
    givesHandle,
    limitMs: limit = limitMs,
  }: Command): Promise<Answer> {
    const names = handles.map(({ name }) => name);
    const authorizations = by === undefined ? [] : [by].flat();
    const authorized = authorizations.map((one) => one.authorize({ code, names, parameters }));
    const areas = Buffer.concat(authorized.map(({ area }) => area));
    const body = new Writer();
    for (const { handle } of handles) body.u32(handle);
    if (by !== undefined) body.u32(areas.length).bytes(areas);
    const bytes = body.bytes(authorized[0]?.parameters ?? parameters).done();
    const tag = by === undefined ? tags.noSessions : tags.sessions;
    const command = new Writer()
      .u16(tag)
      .u32(bytes.length + headerBytes)
      .u32(code)
      .bytes(bytes)
      .done();
    const answered = await this.#transport.send(command, limit);
    const answer = new Reader(answered);
    const kind = answer.u16();
    if (answer.u32() !== answered.length) throw new TpmError('its answer has not the length that it says');
    const responseCode = answer.u32();
    if (responseCode !== 0) throw refusedBy(responseCode);
    if (kind !== tag) throw new TpmError('its answer is of another kind than what it was asked');
    const handle = givesHandle === true ? answer.u32() : 0;
    if (by === undefined) return { handle, parameters: answer };
    const given = answer.take(answer.u32());
    const [judged = given] = authorizations.map((one) => one.judge(code, given, answer));
    return { handle, parameters: new Reader(judged) };
  }
}

const headerBytes = 10;
const ofTransientObjects = 0x8000_0000;
const ofLoadedSessions = 0x0200_0000;
/** More than any TPM has room for. */
const manyHandles = 16;

/** Flushes what others, or a killed process of ours, have left loaded: a TPM has room for three objects. */
async function flushAll(client: TpmClient): Promise<void> {
  for (const first of [ofTransientObjects, ofLoadedSessions]) {
    const { parameters } = await client.run({
      code: commands.getCapability,
      parameters: new Writer().u32(capabilities.handles).u32(first).u32(manyHandles).done(),
    });
    parameters.u8();
    parameters.u32();
    const count = parameters.u32();
    for (let index = 0; index < count; index++) await client.flush(parameters.u32());
  }
}

/** An entity whose name is its handle. */
export function byHandle(handle: number): Named {
  return { handle, name: new Writer().u32(handle).done() };
}

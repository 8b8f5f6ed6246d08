import { type FileHandle, open } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { errorCode } from '../../core/private-file.ts';
import { TpmError } from './errors.ts';

/** A transport to a TPM: a command in, its answer out, one at a time. */
export interface TpmTransport {
  /** Throws a TpmError where no answer comes within `limitMs`. Nothing more can be sent then. */
  send(command: Buffer, limitMs: number): Promise<Buffer>;
  /** True: nothing can be sent any more. */
  readonly broken: boolean;
  close(): Promise<void>;
}

/** Path of a device, or the socket of a software TPM that speaks plain commands on a stream (swtpm --server). */
export type TpmPlace =
  | { readonly device: string }
  | { readonly socket: string }
  | { readonly host: string; readonly port: number };

/** The names are those of tpm2-tss: `device:/dev/tpmrm0`, `swtpm:path=/run/swtpm.sock`, `swtpm:host=127.0.0.1,port=2321`. */
export const tpmPlacePattern =
  '^(device:/[^\\0]{1,200}|swtpm:path=/[^\\0,]{1,100}|swtpm:host=[A-Za-z0-9.:-]{1,253},port=[0-9]{1,5})$';

export function tpmPlaceOf(text: string): TpmPlace | undefined {
  if (!new RegExp(tpmPlacePattern).test(text)) return undefined;
  if (text.startsWith('device:')) return { device: text.slice('device:'.length) };
  const socket = /^swtpm:path=(.*)$/.exec(text)?.[1];
  if (socket !== undefined) return { socket };
  const [, host, port] = /^swtpm:host=(.*),port=(\d+)$/.exec(text) as RegExpExecArray &
    [string, string, string];
  return Number(port) > 65_535 ? undefined : { host, port: Number(port) };
}

/** True of the kernel's resource manager: each program has a TPM of its own there, and leaves nothing loaded. */
export function isShared(place: TpmPlace): boolean {
  return 'device' in place && /\/tpmrm\d+$/.test(place.device);
}

/** The message of a TpmError. */
export const noAnswerInTime = 'it does not answer in time';

/** A software TPM on this machine answers at once. */
const connectLimitMs = 3_000;
/** The largest answer of TPMs of PCs (TPM 2.0 part 6, MAX_RESPONSE_SIZE). */
const maxAnswerBytes = 4_096;
const headerBytes = 10;

/** Throws a TpmError. */
export async function openTransport(place: TpmPlace): Promise<TpmTransport> {
  try {
    if (!('device' in place)) return new SocketTransport(await connected(place));
    if (stuck.has(place.device)) throw new TpmError('it has not answered an earlier command yet');
    return deviceTransport(await open(place.device, 'r+'), place.device);
  } catch (cause) {
    if (cause instanceof TpmError) throw cause;
    const name =
      'device' in place ? place.device : 'socket' in place ? place.socket : `${place.host}:${place.port}`;
    throw new TpmError(`${name} cannot be opened (${errorCode(cause)})`);
  }
}

function connected(place: Exclude<TpmPlace, { readonly device: string }>): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect('socket' in place ? { path: place.socket } : place);
    const timer = setTimeout(
      () => socket.destroy(new TpmError('it does not take the connection')),
      connectLimitMs,
    );
    socket.once('error', reject);
    socket.once('connect', () => {
      clearTimeout(timer);
      socket.off('error', reject);
      resolve(socket);
    });
    socket.once('close', () => clearTimeout(timer));
  });
}

/** Devices with a command that was given up. Each holds a thread of libuv until the kernel gives up as well. */
const stuck = new Set<string>();

type DeviceFile = Pick<FileHandle, 'read' | 'write' | 'close'>;

/** A transport over an open device. */
export function deviceTransport(file: DeviceFile, path: string): TpmTransport {
  return new DeviceTransport(file, path);
}

/** The kernel gives the answer to the file that wrote the command. Both calls wait in a thread of libuv. */
class DeviceTransport implements TpmTransport {
  readonly #file: DeviceFile;
  readonly #path: string;
  #broken = false;

  get broken(): boolean {
    return this.#broken;
  }

  constructor(file: DeviceFile, path: string) {
    this.#file = file;
    this.#path = path;
  }

  async send(command: Buffer, limitMs: number): Promise<Buffer> {
    if (this.#broken) throw new TpmError('it did not answer before');
    const answer = Buffer.allocUnsafe(maxAnswerBytes);
    const asked = async () => {
      await this.#file.write(command, 0, command.length, null);
      const { bytesRead } = await this.#file.read(answer, 0, answer.length, null);
      return answer.subarray(0, bytesRead);
    };
    const asking = asked();
    try {
      return await within(limitMs, asking);
    } catch (cause) {
      this.#broken = true;
      stuck.add(this.#path);
      void asking.catch(() => {}).finally(() => stuck.delete(this.#path));
      throw cause instanceof TpmError ? cause : new TpmError(`it does not answer (${errorCode(cause)})`);
    }
  }

  async close(): Promise<void> {
    this.#broken = true;
    const closed = this.#file.close().catch(() => {});
    // The close waits for the command under way.
    if (!stuck.has(this.#path)) await closed;
  }
}

class SocketTransport implements TpmTransport {
  readonly #socket: Socket;
  #came = Buffer.alloc(0);
  #waiting:
    | { readonly resolve: (answer: Buffer) => void; readonly reject: (cause: Error) => void }
    | undefined;
  #broken: TpmError | undefined;

  get broken(): boolean {
    return this.#broken !== undefined;
  }

  constructor(socket: Socket) {
    this.#socket = socket;
    socket.on('data', (piece) => this.#take(piece));
    socket.on('error', () => {});
    socket.on('close', () => this.#break(new TpmError('the connection has ended')));
  }

  async send(command: Buffer, limitMs: number): Promise<Buffer> {
    if (this.#broken !== undefined) throw this.#broken;
    const answer = new Promise<Buffer>((resolve, reject) => {
      this.#waiting = { resolve, reject };
    });
    this.#socket.write(command);
    try {
      return await within(limitMs, answer);
    } catch (cause) {
      this.#break(cause as TpmError);
      throw cause;
    }
  }

  async close(): Promise<void> {
    this.#break(new TpmError('it is closed'));
  }

  #take(piece: Buffer): void {
    this.#came = Buffer.concat([this.#came, piece]);
    const length = this.#came.length < headerBytes ? headerBytes : this.#came.readUInt32BE(2);
    if (length < headerBytes || length > maxAnswerBytes || this.#came.length > maxAnswerBytes) {
      this.#break(new TpmError('its answer has no length that an answer can have'));
      return;
    }
    if (this.#came.length < length) return;
    const answer = this.#came;
    const waiting = this.#waiting;
    // Unasked bytes would be taken for the answer to the next command.
    if (waiting === undefined || answer.length > length) {
      this.#break(new TpmError('it answers more than it was asked'));
      return;
    }
    this.#came = Buffer.alloc(0);
    this.#waiting = undefined;
    waiting.resolve(answer);
  }

  #break(cause: TpmError): void {
    this.#broken ??= cause;
    this.#waiting?.reject(this.#broken);
    this.#waiting = undefined;
    this.#socket.destroy();
  }
}

function within<T>(limitMs: number, doing: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new TpmError(noAnswerInTime)), limitMs);
  });
  return Promise.race([doing, late]).finally(() => clearTimeout(timer));
}

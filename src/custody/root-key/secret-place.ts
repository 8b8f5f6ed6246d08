import { closeSync, constants, fstatSync, openSync, readSync, writeSync } from 'node:fs';
import { isAbsolute, join, relative, resolve } from 'node:path';
import { ReadStream } from 'node:tty';
import { errorCode } from '../../core/private-file.ts';
import { judgeSecretFile, judgeSecretStat, type SecretRule } from '../../core/secret-file.ts';
import { StartError } from '../../core/start-error.ts';
import type { SecretPlace } from './listed-source.ts';

export interface Surroundings {
  readonly dataDir: string;
  readonly rule: SecretRule;
  /** $CREDENTIALS_DIRECTORY of systemd. */
  readonly credentials: string | undefined;
}

/** An identity file has a few hundred bytes; one of post-quantum identities has 2 KB. */
const maxSecretBytes = 64 * 1024;

export function nameOfPlace(place: SecretPlace): string {
  switch (place.from) {
    case 'file':
      return place.path;
    case 'descriptor':
      return `descriptor ${place.descriptor}`;
    case 'credential':
      return `the credential ${place.name}`;
    case 'terminal':
      return 'the terminal';
  }
}

/** A path as lists have it: relative to the data directory within it, so that the whole can be moved. */
export function listedPath(dataDir: string, path: string): string {
  const from = relative(resolve(dataDir), resolve(path));
  return from === '' || from.startsWith('..') || isAbsolute(from) ? resolve(path) : from;
}

/** The absolute path of a listed one. */
export function absolutePath(dataDir: string, path: string): string {
  return resolve(dataDir, path);
}

export function credentialPath({ credentials }: Surroundings, name: string): string {
  if (credentials === undefined)
    throw new StartError(
      `the credential ${name} needs systemd's LoadCredential=: $CREDENTIALS_DIRECTORY is not set`,
    );
  return join(credentials, name);
}

/**
 * The bytes of a secret without its line end, in a buffer of their own. The caller wipes it. Throws a StartError. `what` names it
 * at the terminal.
 */
export async function readSecretPlace(
  place: SecretPlace,
  what: string,
  around: Surroundings,
): Promise<Buffer> {
  if (place.from === 'terminal') return askAtTerminal(what);
  const bytes =
    place.from === 'descriptor'
      ? readOpen(place.descriptor, `descriptor ${place.descriptor}`, around.rule)
      : readFile(
          place.from === 'file'
            ? absolutePath(around.dataDir, place.path)
            : credentialPath(around, place.name),
          around.rule,
        );
  const secret = withoutLineEnd(bytes);
  if (secret.length === 0) throw new StartError(`${nameOfPlace(place)} holds no secret`);
  return secret;
}

/** Lends the secret to `use`, and wipes it behind that. */
export async function withSecret<T>(
  place: SecretPlace,
  what: string,
  around: Surroundings,
  use: (secret: Buffer) => Promise<T>,
): Promise<T> {
  const secret = await readSecretPlace(place, what, around);
  try {
    return await use(secret);
  } finally {
    secret.fill(0);
  }
}

/** Reads an open descriptor to its end and closes it. The caller wipes the buffer. Throws a StartError. */
export function readDescriptor(descriptor: number, rule: SecretRule): Buffer {
  return readOpen(descriptor, `descriptor ${descriptor}`, rule);
}

function readFile(path: string, rule: SecretRule): Buffer {
  let file: number;
  try {
    file = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (cause) {
    throw new StartError(`${path} cannot be read (${errorCode(cause)})`, { cause });
  }
  let problem: string | undefined;
  try {
    problem = judgeSecretFile(path, rule, fstatSync(file));
  } finally {
    if (problem !== undefined) closeSync(file);
  }
  if (problem !== undefined) throw new StartError(problem);
  return readOpen(file, path, rule);
}

/** Reads a descriptor to its end and closes it. */
function readOpen(descriptor: number, place: string, rule: SecretRule): Buffer {
  const bytes = Buffer.allocUnsafeSlow(maxSecretBytes);
  let length = 0;
  try {
    const stat = fstatSync(descriptor);
    const problem =
      stat.isFile() && stat.nlink > 0 ? judgeSecretStat(`the file of ${place}`, stat, rule) : undefined;
    if (problem !== undefined) throw new StartError(problem);
    for (let got = 1; got > 0 && length < bytes.length; length += got)
      got = readSync(descriptor, bytes, length, bytes.length - length, null);
    if (length === bytes.length)
      throw new StartError(`${place} holds ${maxSecretBytes} bytes or more, and no secret has that many`);
  } catch (cause) {
    bytes.fill(0);
    if (cause instanceof StartError) throw cause;
    throw new StartError(`${place} cannot be read (${errorCode(cause)})`, { cause });
  } finally {
    if (descriptor > 2) closeSync(descriptor);
  }
  const own = Buffer.allocUnsafeSlow(length);
  bytes.copy(own, 0, 0, length);
  bytes.fill(0);
  return own;
}

function withoutLineEnd(bytes: Buffer): Buffer {
  let end = bytes.length;
  while (end > 0 && (bytes[end - 1] === 0x0a || bytes[end - 1] === 0x0d)) end--;
  return bytes.subarray(0, end);
}

const enter = new Set([0x0a, 0x0d, 0x04]);
const interrupt = 0x03;
const backspace = new Set([0x08, 0x7f]);
const maxTypedBytes = 1_024;

/** Asks without echo. */
async function askAtTerminal(what: string): Promise<Buffer> {
  let terminal: number;
  try {
    terminal = openSync('/dev/tty', constants.O_RDWR | constants.O_NOCTTY);
  } catch (cause) {
    throw new StartError(`there is no terminal to ask for ${what} (${errorCode(cause)})`, { cause });
  }
  const input = new ReadStream(terminal);
  const typed = Buffer.allocUnsafeSlow(maxTypedBytes);
  let length = 0;
  writeSync(terminal, `${what}: `);
  input.setRawMode(true);
  try {
    return await new Promise<Buffer>((resolve, reject) => {
      input.on('error', reject);
      input.on('end', () => reject(new StartError(`${what} was not given`)));
      input.on('data', (chunk: Buffer) => {
        try {
          for (const byte of chunk) {
            if (byte === interrupt) return reject(new StartError(`${what} was not given`));
            if (enter.has(byte))
              return length === 0
                ? reject(new StartError(`${what} was not given`))
                : resolve(Buffer.from(typed.subarray(0, length)));
            if (backspace.has(byte)) length = Math.max(0, length - 1);
            else if (length < maxTypedBytes) typed[length++] = byte;
          }
        } finally {
          chunk.fill(0);
        }
      });
    });
  } finally {
    typed.fill(0);
    input.setRawMode(false);
    writeSync(terminal, '\n');
    input.destroy();
  }
}

import { closeSync, constants, fstatSync, openSync, readSync, type Stats } from 'node:fs';
import { judgeSecretFile, type SecretRule } from '../../core/secret-file.ts';

/** Longer than any token takes. */
const maxPinBytes = 255;

/** A PIN that was read. `bytes` is the caller's to wipe; `stamp` changes when its file does. */
export type ReadPin = { readonly bytes: Buffer; readonly stamp: string } | { readonly problem: string };

/**
 * Reads the PIN where it is: `descriptor` is of a file or a pipe that this process was given; a pipe gives it once. A line feed
 * at the end is not part of it.
 */
export function readPin(source: string | number, rule: SecretRule): ReadPin {
  if (typeof source === 'number') return readFrom(source, 'the descriptor of the PIN', undefined);
  let file: number;
  try {
    file = openSync(source, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    return { problem: `${source} cannot be opened: ${(error as NodeJS.ErrnoException).code}` };
  }
  try {
    const stat = fstatSync(file);
    if (!stat.isFile()) return { problem: `${source} is not a regular file` };
    const problem = judgeSecretFile(source, rule, stat);
    return problem === undefined ? readFrom(file, source, stat) : { problem };
  } finally {
    closeSync(file);
  }
}

function readFrom(file: number, what: string, known: Stats | undefined): ReadPin {
  try {
    const stat = known ?? fstatSync(file);
    const room = Buffer.alloc(maxPinBytes + 3);
    try {
      const length = readAll(file, room, stat.isFile());
      const end = endOf(room, length);
      if (end === 0 || end > maxPinBytes)
        return { problem: `${what} holds no PIN of 1 to ${maxPinBytes} bytes` };
      const bytes = Buffer.allocUnsafeSlow(end);
      room.copy(bytes, 0, 0, end);
      return { bytes, stamp: stampOf(stat) };
    } finally {
      room.fill(0);
    }
  } catch (error) {
    return { problem: `${what} cannot be read: ${(error as NodeJS.ErrnoException).code}` };
  }
}

function readAll(file: number, room: Buffer, isFile: boolean): number {
  let length = 0;
  while (length < room.length) {
    // A file is read from its beginning each time; a pipe has no place.
    const read = readSync(file, room, length, room.length - length, isFile ? length : null);
    if (read === 0) break;
    length += read;
  }
  return length;
}

function endOf(room: Buffer, length: number): number {
  let end = length;
  if (room[end - 1] === 0x0a) end--;
  if (room[end - 1] === 0x0d) end--;
  return end;
}

function stampOf({ dev, ino, size, mtimeMs, ctimeMs }: Stats): string {
  return [dev, ino, size, mtimeMs, ctimeMs].join('/');
}

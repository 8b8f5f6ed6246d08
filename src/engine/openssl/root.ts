import { createSecretKey, generateKeySync, hkdfSync, KeyObject, randomFillSync } from 'node:crypto';
import {
  closeSync,
  constants,
  fchmodSync,
  fstatSync,
  fsyncSync,
  openSync,
  readSync,
  writeSync,
} from 'node:fs';
import { dirname } from 'node:path';
import type { EngineErrorCode, RootRef, RootSource } from '../engine.ts';
import { EngineError } from '../engine-error.ts';

export const rootKeyBytes = 32;
/** Owner, group and directory are judged by the caller, who knows what the operator allows. */
const others = 0o007;

/** Its bytes are in JavaScript only in a buffer outside of the heap, which is wiped before this returns. */
export function readOrMakeRootKey(source: RootSource): KeyObject {
  switch (source.kind) {
    case 'file':
      return readRootFile(source.path);
    case 'file-create':
      return createRootFile(source.path);
    case 'descriptor':
      return readRootDescriptor(source.descriptor);
    case 'lent-page':
      return fillRootPage(source.fill);
    case 'memory':
      return generateKeySync('aes', { length: rootKeyBytes * 8 });
  }
}

/** Two roots as one ref; plain data, as one is. */
export interface JoinedRoots {
  readonly current: KeyObject;
  readonly before: KeyObject;
}

/** The KeyObjects behind a RootRef. Throws BAD_ARGUMENT for anything that this engine did not make. */
export function rootsOf(root: RootRef): { readonly current: KeyObject; readonly before?: KeyObject } {
  if (isRootKey(root)) return { current: root };
  const { current, before } = (root ?? {}) as Partial<JoinedRoots>;
  if (isRootKey(current) && isRootKey(before)) return { current, before };
  throw new EngineError('BAD_ARGUMENT', 'not a root key of this engine');
}

/** The one that seals. */
export function rootKeyOf(root: RootRef): KeyObject {
  return rootsOf(root).current;
}

function isRootKey(root: unknown): root is KeyObject {
  return root instanceof KeyObject && root.type === 'secret' && root.symmetricKeySize === rootKeyBytes;
}

const macInfo = 'intaglio/mac/v1\0';
const macKeyBytes = 32;

/** See Engine.rootMacKey. */
export function rootMacKeyOf(root: KeyObject, purpose: string): Uint8Array {
  return new Uint8Array(hkdfSync('sha256', root, '', `${macInfo}${purpose}`, macKeyBytes));
}

function readRootFile(path: string): KeyObject {
  // O_NONBLOCK: opening a FIFO must not hang before fstat can refuse it.
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
  const file = guarded(() => openSync(path, flags));
  // One byte more than a root key, so that a longer file shows.
  const bytes = Buffer.allocUnsafeSlow(rootKeyBytes + 1);
  try {
    const stat = guarded(() => fstatSync(file));
    if (!stat.isFile()) throw new EngineError('ROOT_PERMISSIONS', 'the root key is not a regular file');
    if ((stat.mode & others) !== 0) {
      throw new EngineError('ROOT_PERMISSIONS', 'others have access to the root key file');
    }
    const length = guarded(() => readSync(file, bytes, 0, bytes.length, 0));
    if (length !== rootKeyBytes) throw new EngineError('ROOT_LENGTH', 'a root key file has exactly 32 bytes');
    return createSecretKey(bytes.subarray(0, rootKeyBytes));
  } finally {
    bytes.fill(0);
    closeSync(file);
  }
}

/** A pipe is waited for as long as its other end is open: Node has no poll(2). */
function readRootDescriptor(descriptor: number): KeyObject {
  if (!Number.isInteger(descriptor) || descriptor < 3)
    throw new EngineError('BAD_ARGUMENT', 'a descriptor from 3 on is expected');
  const bytes = Buffer.allocUnsafeSlow(rootKeyBytes + 1);
  const stat = guarded(() => fstatSync(descriptor));
  try {
    if (!stat.isFile() && !stat.isFIFO())
      throw new EngineError('ROOT_PERMISSIONS', 'the descriptor is neither a file nor a pipe');
    // A file without a name is nobody else's, whatever its mode says: memfd_create(2) gives 0777.
    if (stat.isFile() && stat.nlink > 0 && (stat.mode & others) !== 0)
      throw new EngineError('ROOT_PERMISSIONS', 'others have access to the root key file');
    let length = 0;
    for (let got = 1; got > 0 && length < bytes.length; length += got)
      got = guarded(() => readSync(descriptor, bytes, length, bytes.length - length, null));
    if (length !== rootKeyBytes)
      throw new EngineError('ROOT_LENGTH', 'the descriptor does not give exactly 32 bytes');
    return createSecretKey(bytes.subarray(0, rootKeyBytes));
  } finally {
    bytes.fill(0);
    closeSync(descriptor);
  }
}

/** The page is an ArrayBuffer of its own: bytes of a small array without one may lie on JavaScript's heap. */
function fillRootPage(fill: (page: Uint8Array) => void): KeyObject {
  const lent = new ArrayBuffer(rootKeyBytes);
  const lend = () => {
    try {
      fill(new Uint8Array(lent));
      return undefined;
    } catch (cause) {
      return { cause };
    }
  };
  const thrown = lend();
  // Moves the memory: the source's array is empty from here on.
  const page = new Uint8Array(lent.transfer());
  try {
    if (thrown !== undefined) throw thrown.cause;
    if (page.every((byte) => byte === 0)) throw new EngineError('ROOT_LENGTH', 'the page was not filled');
    return createSecretKey(page);
  } finally {
    page.fill(0);
  }
}

/** Durable when it returns: the file and its directory are synced. */
function createRootFile(path: string): KeyObject {
  const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
  const file = guarded(() => openSync(path, flags, 0o600));
  const bytes = Buffer.allocUnsafeSlow(rootKeyBytes);
  try {
    randomFillSync(bytes);
    guarded(() => {
      // The umask may have taken owner bits away.
      fchmodSync(file, 0o600);
      if (writeSync(file, bytes) !== rootKeyBytes) throw new Error('short write');
      fsyncSync(file);
      syncDirectory(dirname(path));
    });
    return createSecretKey(bytes);
  } finally {
    bytes.fill(0);
    closeSync(file);
  }
}

function syncDirectory(path: string): void {
  const directory = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    fsyncSync(directory);
  } finally {
    closeSync(directory);
  }
}

const codeOfErrno: Readonly<Record<string, EngineErrorCode>> = {
  ENOENT: 'ROOT_MISSING',
  EEXIST: 'ROOT_EXISTS',
  EBADF: 'ROOT_MISSING',
  ELOOP: 'ROOT_PERMISSIONS',
  EACCES: 'ROOT_PERMISSIONS',
};

/** Runs a file system call; its error becomes one that names neither path nor cause. */
function guarded<T>(call: () => T): T {
  try {
    return call();
  } catch (error) {
    const code = codeOfErrno[(error as NodeJS.ErrnoException).code ?? ''] ?? 'IO';
    throw new EngineError(code, 'the root key file could not be opened, read or written');
  }
}

import { createHmac, hash } from 'node:crypto';

/** A key of HMAC-SHA-256 (RFC 2104) that computes, and does not give its bytes. */
export interface MacKey {
  /**
   * 32 bytes: HMAC(… HMAC(HMAC(key, first), second) …, last), each MAC the key of the next. Of one message the plain
   * HMAC. At least one message.
   */
  mac(...messages: readonly Uint8Array[]): Buffer;

  /** The key HKDF-Expand(this, info, 32) (RFC 5869 section 2.3). */
  expand(info: string): MacKey;

  /** The key HKDF-Extract(salt, HKDF-Expand(this, info, 32)): of a secret from which other keys come in turn. */
  derive(info: string, salt?: string): MacKey;
}

/** A MAC key as it crosses between threads: its number in the native engine's memory, or its 32 bytes. */
export type MacKeyRef = number | Uint8Array;

export const macBytes = 32;
const blockBytes = 64;
/** Longer messages are rare (a snapshot of the log), and get a buffer of their own. */
const preparedBytes = 512;

/** The message of HKDF-Expand's first and here only block: the info and a counter. */
export function expandMessage(info: string): Buffer {
  return Buffer.from(`${info}\x01`);
}

/** HKDF-Extract (RFC 5869 section 2.2): a MAC key from a secret and a public salt. */
export function extractMacKey(secret: Uint8Array, salt: string): Uint8Array {
  return createHmac('sha256', salt).update(secret).digest();
}

/**
 * A MAC key in ordinary memory, of at most 64 bytes: for commands, tests, and the OpenSSL engine. Two one-shot hashes over
 * buffers that are made once take half of the time of `createHmac`, whose object also has to be collected.
 */
export function softwareMacKey(key: MacKeyRef): MacKey {
  if (typeof key === 'number') throw new TypeError('this MAC key is in the native engine');
  const inner = padded(key, 0x36, preparedBytes);
  const outer = padded(key, 0x5c, macBytes);

  const macOfOne = (message: Uint8Array): Buffer => {
    const fits = message.length <= preparedBytes;
    const input = fits
      ? inner.subarray(0, blockBytes + message.length)
      : Buffer.concat([innerPad(), message]);
    if (fits) inner.set(message, blockBytes);
    // As text, which node:crypto hands over in half of the time that a Buffer takes.
    outer.write(hash('sha256', input, 'binary'), blockBytes, 'latin1');
    return Buffer.from(hash('sha256', outer, 'binary'), 'latin1');
  };
  const innerPad = () => inner.subarray(0, blockBytes);

  return {
    mac: (first, ...others) =>
      others.reduce<Buffer>(
        (link, message) => softwareMacKey(link).mac(message),
        macOfOne(first as Uint8Array),
      ),
    expand: (info) => softwareMacKey(macOfOne(expandMessage(info))),
    derive: (info, salt = '') => softwareMacKey(extractMacKey(macOfOne(expandMessage(info)), salt)),
  };
}

function padded(key: Uint8Array, pad: number, roomBytes: number): Buffer {
  if (key.length > blockBytes) throw new RangeError('a MAC key of more than a block');
  const bytes = Buffer.alloc(blockBytes + roomBytes);
  for (let at = 0; at < blockBytes; at++) bytes[at] = (key[at] ?? 0) ^ pad;
  return bytes;
}

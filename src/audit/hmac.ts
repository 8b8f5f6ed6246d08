import { hash } from 'node:crypto';

/**
 * HMAC-SHA-256 (RFC 2104) over messages of one length that differ in their end, as two one-shot hashes over buffers that
 * are made once: a third of the time of `createHmac`, whose object for each message also has to be collected.
 */
export interface PreparedHmac {
  /** inner pad || message; the caller writes into the message's place. */
  readonly inner: Buffer;
  readonly messageAt: number;
  /** outer pad || inner digest. */
  readonly outer: Buffer;
}

const blockBytes = 64;
const digestBytes = 32;

/** `key` has at most 64 bytes. */
export function prepareHmac(key: Uint8Array, messageBytes: number): PreparedHmac {
  if (key.length > blockBytes) throw new RangeError('an HMAC key of more than a block');
  const inner = Buffer.alloc(blockBytes + messageBytes);
  const outer = Buffer.alloc(blockBytes + digestBytes);
  for (let at = 0; at < blockBytes; at++) {
    const byte = key[at] ?? 0;
    inner[at] = byte ^ 0x36;
    outer[at] = byte ^ 0x5c;
  }
  return { inner, messageAt: blockBytes, outer };
}

/** The MAC of what stands in the message's place, in hex. */
export function hmacHex({ inner, outer }: PreparedHmac): string {
  outer.write(hash('sha256', inner, 'binary'), blockBytes, 'latin1');
  return hash('sha256', outer, 'hex');
}

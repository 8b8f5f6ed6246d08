import { blake3 } from '@noble/hashes/blake3.js';
import { shake256 } from '@noble/hashes/sha3.js';
import { bytesToHex } from '@noble/hashes/utils.js';
import { chunksOf, type Source } from './bytes.ts';

/** BLAKE3-256 of all bytes, 64 lower-case hex digits: `payload_b3`. `onProgress` is told the bytes so far. */
export async function blake3Hex(source: Source, onProgress?: (bytes: number) => void): Promise<string> {
  const hash = blake3.create({});
  let bytes = 0;
  for await (const chunk of chunksOf(source)) {
    hash.update(chunk);
    bytes += chunk.length;
    onProgress?.(bytes);
  }
  return bytesToHex(hash.digest());
}

/** The message representative of ML-DSA, 64 bytes (FIPS 204, algorithm 7, line 6). `publicKey`: FIPS 204's bytes. */
export async function muOf(
  publicKey: Uint8Array,
  message: Source,
  context: Uint8Array = new Uint8Array(0),
): Promise<Uint8Array> {
  if (context.length > 255) throw new RangeError('a context has at most 255 bytes');
  const hash = shake256.create({ dkLen: 64 });
  hash.update(shake256(publicKey, { dkLen: 64 }));
  hash.update(Uint8Array.of(0, context.length)).update(context);
  for await (const chunk of chunksOf(message)) hash.update(chunk);
  return hash.digest();
}

import { decodeBase64, encodeBase64 } from '../../core/bytes.ts';

/** A wrapping as callers keep it: `u8 1 | u32le version of the KEK | wrapping of the engine`, in base64. */
export interface WrappedByKek {
  readonly kek: number;
  readonly wrapped: Uint8Array;
}

const format = 1;
const headerBytes = 5;
/** 64 KiB with nonce[12] and tag[16]. */
const maxBytes = headerBytes + 65_536 + 28;

export function wrappedText({ kek, wrapped }: WrappedByKek): string {
  const header = Buffer.alloc(headerBytes);
  header[0] = format;
  header.writeUInt32LE(kek, 1);
  return encodeBase64(Buffer.concat([header, wrapped]));
}

/** Undefined: the text is no wrapping of this form. */
export function parseWrapped(text: string): WrappedByKek | undefined {
  const bytes = decodeBase64(text, maxBytes);
  if (bytes === undefined || bytes.length <= headerBytes || bytes[0] !== format) return undefined;
  const kek = Buffer.from(bytes.buffer, bytes.byteOffset).readUInt32LE(1);
  return kek === 0 ? undefined : { kek, wrapped: bytes.subarray(headerBytes) };
}

/** Base64 with padding (RFC 4648 section 4) of exactly the canonical form, or undefined. `maxBytes` bounds the decoded length. */
export function decodeBase64(text: string, maxBytes: number): Uint8Array | undefined {
  if (text.length % 4 !== 0 || text.length > Math.ceil(maxBytes / 3) * 4) return undefined;
  const bytes = Buffer.from(text, 'base64');
  // Buffer skips what is not base64 and accepts the URL alphabet; only the canonical text encodes back to itself.
  if (bytes.length > maxBytes || bytes.toString('base64') !== text) return undefined;
  return bytes;
}

export function encodeBase64(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64');
}

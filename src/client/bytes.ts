/** Base64 with padding (RFC 4648), in Node and in browsers. */
export function toBase64(bytes: Uint8Array): string {
  let text = '';
  // Function.apply takes some ten thousand arguments.
  for (let at = 0; at < bytes.length; at += 8_192)
    text += String.fromCharCode(...bytes.subarray(at, at + 8_192));
  return btoa(text);
}

export function fromBase64(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}

/** Base64url without padding (RFC 4648 section 5). Throws where it is not, or is not the one text of these bytes. */
export function fromBase64Url(text: string): Uint8Array<ArrayBuffer> {
  const bytes = fromBase64(text.replaceAll('-', '+').replaceAll('_', '/'));
  if (toBase64Url(bytes) !== text) throw new SyntaxError('not base64url');
  return bytes;
}

export function toBase64Url(bytes: Uint8Array): string {
  return toBase64(bytes).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
}

/** What can be hashed: bytes, a file of a browser, and whatever gives bytes piece by piece (streams of Node and of the web). */
export type Source = Uint8Array | Blob | AsyncIterable<Uint8Array> | ReadableStream<Uint8Array>;

export async function* chunksOf(source: Source): AsyncGenerator<Uint8Array> {
  if (source instanceof Uint8Array) yield source;
  else if (source instanceof Blob) yield* iterate(source.stream());
  else if (Symbol.asyncIterator in source) yield* source;
  else yield* iterate(source as ReadableStream<Uint8Array>);
}

/** Not every browser iterates over a stream by itself. */
async function* iterate(stream: ReadableStream<Uint8Array>): AsyncGenerator<Uint8Array> {
  const reader = stream.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield value;
    }
  } finally {
    reader.releaseLock();
  }
}

import type { Readable } from 'node:stream';
import { CloudTrouble } from './trouble.ts';

/**
 * The largest answer of a KMS or a token service that is read, in bytes after decompression. A wrapped root key is below 1 KiB, a
 * token with the groups of its owner below 20 KiB, and the OpenID configuration of Azure below 4 KiB.
 */
export const maxAnswerBytes = 65_536;

/** The whole of a body, before the signal. One that is too large is left where it is. Throws a CloudTrouble, or what the stream throws. */
export async function boundedBody(stream: Readable, signal: AbortSignal): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  const end = () => stream.destroy();
  signal.addEventListener('abort', end, { once: true });
  if (signal.aborted) end();
  try {
    for await (const chunk of stream as AsyncIterable<Buffer>) {
      bytes += chunk.length;
      // Leaving the loop destroys the stream, and with it the connection.
      if (bytes > maxAnswerBytes) throw new CloudTrouble('lied', 'size');
      chunks.push(chunk);
    }
    return Buffer.concat(chunks, bytes);
  } catch (cause) {
    throw signal.aborted ? new CloudTrouble('slow') : cause;
  } finally {
    signal.removeEventListener('abort', end);
  }
}

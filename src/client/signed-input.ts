import { createReadStream } from 'node:fs';
import { chunksOf, type Source, toBase64 } from './bytes.ts';
import type { PublicKey } from './local-verification.ts';

/** Bytes, a stream, or a file of this machine. */
export type Input = Source | { readonly file: string };

/** What is signed: exactly one of the first three. */
export interface SignedInput {
  /** Its BLAKE3 digest is made here, and the 32 bytes of that are signed. The usual case, for any length and any key. */
  readonly payload?: Input;
  /** The BLAKE3 digest itself, 64 lower-case hex digits. */
  readonly payloadB3?: string;
  /**
   * Is signed itself, so that whoever has it and a public key verifies. Above 64 KiB its digest is made here (ECDSA, RSA), or its mu
   * (ML-DSA); Ed25519 has neither, and takes up to 64 KiB.
   */
  readonly message?: Input;
  /** Of ML-DSA and composites, at most 255 bytes. */
  readonly context?: Uint8Array;
}

/** The members of a body, and the kid with a version where one had to be found. */
export interface SignedMembers {
  readonly body: Readonly<Record<string, unknown>>;
  readonly kid?: string;
}

/** What a service takes as a message. */
const maxMessageBytes = 64 * 1024;

export async function signedMembers(
  { payload, payloadB3, message, context }: SignedInput,
  kid: string | readonly string[],
  keyOf: (kid: string) => Promise<(PublicKey & { readonly kid?: string }) | undefined>,
): Promise<SignedMembers> {
  if ([payload, payloadB3, message].filter((one) => one !== undefined).length !== 1)
    throw new TypeError('give exactly one of payload, payloadB3 and message');
  const beside = context === undefined ? {} : { context_b64: toBase64(context) };
  if (payloadB3 !== undefined) return { body: { payload_b3: payloadB3, ...beside } };
  if (payload !== undefined) {
    const { blake3Hex } = await import('./hashing.ts');
    return { body: { payload_b3: await blake3Hex(sourceOf(payload)), ...beside } };
  }
  const { head, rest } = await firstPart(sourceOf(message as Input));
  if (rest === undefined) return { body: { message_b64: toBase64(head), ...beside } };
  return longMessage({ rest: rest(), context, beside }, kid, keyOf);
}

interface LongMessage {
  readonly rest: AsyncIterable<Uint8Array>;
  readonly context: Uint8Array | undefined;
  readonly beside: object;
}

async function longMessage(
  { rest, context, beside }: LongMessage,
  kid: string | readonly string[],
  keyOf: (kid: string) => Promise<(PublicKey & { readonly kid?: string }) | undefined>,
): Promise<SignedMembers> {
  const alg = typeof kid === 'string' ? (kid.split('/')[2] ?? '') : '';
  if (alg.startsWith('ml-dsa-')) {
    const { muOf } = await import('./hashing.ts');
    const key = await keyOf(kid as string);
    if (key === undefined) throw new RangeError('the key has no public part');
    const mu = await muOf(
      Uint8Array.from(atob(key.pubkey_b64), (c) => c.charCodeAt(0)),
      rest,
      context,
    );
    // A mu depends on the public key, so that its version has to be named.
    return { body: { mu_b64: toBase64(mu) }, kid: key.kid ?? (kid as string) };
  }
  const hash = digestOf(alg);
  if (hash === undefined)
    throw new RangeError(
      `${alg || 'several keys'}: a message has at most ${maxMessageBytes} bytes; give it as payload`,
    );
  const { createHash } = await import('node:crypto');
  const made = createHash(hash);
  for await (const chunk of rest) made.update(chunk);
  return { body: { digest_b64: toBase64(made.digest()), hash, ...beside } };
}

function digestOf(alg: string): string | undefined {
  if (alg === 'ecdsa-p384') return 'sha384';
  if (alg === 'ecdsa-p256' || alg.startsWith('rsa-')) return 'sha256';
  return alg.startsWith('mldsa') ? 'sha512' : undefined;
}

function sourceOf(input: Input): Source {
  return 'file' in input ? createReadStream(input.file) : input;
}

/** The whole of it, or, where it is longer than a message may be, a stream of the whole. */
async function firstPart(
  source: Source,
): Promise<{ readonly head: Uint8Array; readonly rest: (() => AsyncIterable<Uint8Array>) | undefined }> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  const all = chunksOf(source);
  for (;;) {
    const { done, value } = await all.next();
    if (done === true) return { head: Buffer.concat(chunks), rest: undefined };
    chunks.push(value);
    bytes += value.length;
    if (bytes > maxMessageBytes) break;
  }
  async function* whole() {
    yield* chunks;
    yield* all;
  }
  return { head: new Uint8Array(0), rest: whole };
}

export async function wholeOf(input: Input): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of chunksOf(sourceOf(input))) chunks.push(chunk);
  return Buffer.concat(chunks);
}

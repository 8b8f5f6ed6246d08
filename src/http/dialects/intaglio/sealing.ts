import { Type } from '@sinclair/typebox';
import { decodeBase64, encodeBase64 } from '../../../core/bytes.ts';
import { ok, type Result, refuse } from '../../../core/result.ts';
import type { Operations } from '../../../operations/operations.ts';
import type {
  DecryptRequest,
  EncryptAnswer,
  EncryptRequest,
  Opened,
} from '../../../operations/sealing/encrypt.ts';
import type { RandomRequest } from '../../../operations/sealing/random.ts';
import type { RewrapAnswer, RewrapRequest } from '../../../operations/sealing/rewrap.ts';
import type {
  DataKeyAnswer,
  DataKeyRequest,
  UnwrapRequest,
  Wrapped,
  WrapRequest,
} from '../../../operations/sealing/wrap.ts';
import type { Endpoint } from '../../dialect.ts';
import { closed, type Shape, shapeOf, typed } from '../../json-requests.ts';
import { batchEndpoint } from './batches.ts';
import { base64Length, kidText } from './schemas.ts';

/** What is longer is encrypted by its caller, under a data key: a worker takes 0.1 ms for as much. */
const maxPlaintextBytes = 64 * 1024;
/** With the tag. */
const maxCiphertextBytes = maxPlaintextBytes + 16;
/** With the encapsulated key of ML-KEM-1024, the longest, and the tag. */
const maxWrappedBytes = maxPlaintextBytes + 1_568 + 16;
/** It names what the plaintext is about, and could be as long as that. */
const maxAadBytes = 64 * 1024;
/** Nonces have 12 or 24 bytes; what is longer is none, and is read to be told so. */
const maxNonceBytes = 64;
/** Most callers want a key or a token. */
const maxRandomBytes = 1_024;

export const bytesText = (maxBytes: number) =>
  Type.String({ description: `base64 (RFC 4648, padded) of at most ${maxBytes} bytes` });
export const plaintextText = bytesText(maxPlaintextBytes);
const ciphertextText = bytesText(maxCiphertextBytes);
const wrappedText = bytesText(maxWrappedBytes);
const nonceText = Type.String({ maxLength: base64Length(maxNonceBytes) });
export const optionalAad = Type.Optional(bytesText(maxAadBytes));
const dataKeySize = Type.Union([Type.Literal(16), Type.Literal(32), Type.Literal(64)]);

export const encryptShape = shapeOf(
  closed({ kid: kidText, plaintext_b64: plaintextText, aad_b64: optionalAad }),
);
export const decryptShape = shapeOf(
  closed({ kid: kidText, ciphertext_b64: ciphertextText, nonce_b64: nonceText, aad_b64: optionalAad }),
);
export const wrapShape = shapeOf(
  closed({
    kid: kidText,
    plaintext_b64: Type.Optional(plaintextText),
    size: Type.Optional(dataKeySize),
    aad_b64: optionalAad,
  }),
);
export const unwrapShape = shapeOf(closed({ kid: kidText, wrapped_b64: wrappedText, aad_b64: optionalAad }));
export const rewrapShape = shapeOf(
  closed({
    kid: kidText,
    wrapped_b64: Type.Optional(wrappedText),
    ciphertext_b64: Type.Optional(ciphertextText),
    nonce_b64: Type.Optional(nonceText),
    aad_b64: optionalAad,
  }),
);
export const dataKeyShape = shapeOf(
  closed({
    kid: kidText,
    size: dataKeySize,
    plaintext: Type.Optional(Type.Boolean()),
    aad_b64: optionalAad,
  }),
);
export const randomShape = shapeOf(closed({ size: Type.Integer({ minimum: 1, maximum: maxRandomBytes }) }));

export type BodyOf<S> = S extends Shape<infer Body> ? Body : never;

/** Longer than `maxBytes` is TooLarge, before it is decoded. */
export function bytesIn(name: string, text: string, maxBytes: number): Result<Uint8Array> {
  const bytes = decodeBase64(text, maxBytes);
  if (bytes !== undefined) return ok(bytes);
  // Padding makes a text of three characters more than the bytes need.
  return text.length > base64Length(maxBytes) || padded(text) > maxBytes
    ? refuse('TooLarge', `${name}: at most ${maxBytes} bytes`)
    : refuse('BadRequest', `${name} is not base64`);
}

/** Bytes of a text, if it is base64. */
function padded(text: string): number {
  return (text.length / 4) * 3 - (text.endsWith('==') ? 2 : text.endsWith('=') ? 1 : 0);
}

export function plaintextIn({ plaintext_b64 }: { readonly plaintext_b64: string }): Result<Uint8Array> {
  return bytesIn('plaintext_b64', plaintext_b64, maxPlaintextBytes);
}

export function aadIn({ aad_b64 = '' }: { aad_b64?: string }): Result<Uint8Array> {
  return bytesIn('aad_b64', aad_b64, maxAadBytes);
}

function encryptRequestOf(body: BodyOf<typeof encryptShape>): Result<EncryptRequest> {
  const plaintext = plaintextIn(body);
  if (!plaintext.ok) return plaintext;
  const aad = aadIn(body);
  return aad.ok ? ok({ kid: body.kid, plaintext: plaintext.value, aad: aad.value }) : aad;
}

function decryptRequestOf(body: BodyOf<typeof decryptShape>): Result<DecryptRequest> {
  const encrypted = encryptedIn(body.ciphertext_b64, body.nonce_b64);
  if (!encrypted.ok) return encrypted;
  const aad = aadIn(body);
  return aad.ok ? ok({ kid: body.kid, ...encrypted.value, aad: aad.value }) : aad;
}

function encryptedIn(ciphertext_b64: string, nonce_b64: string) {
  const ciphertext = bytesIn('ciphertext_b64', ciphertext_b64, maxCiphertextBytes);
  if (!ciphertext.ok) return ciphertext;
  const nonce = bytesIn('nonce_b64', nonce_b64, maxNonceBytes);
  return nonce.ok ? ok({ ciphertext: ciphertext.value, nonce: nonce.value }) : nonce;
}

const oneOfPlaintext = refuse('BadRequest', 'give exactly one of plaintext_b64 and size');
const oneOfWrapped = refuse('BadRequest', 'give either wrapped_b64, or ciphertext_b64 and nonce_b64');

function wrapRequestOf({ kid, plaintext_b64, size, ...body }: BodyOf<typeof wrapShape>): Result<WrapRequest> {
  if ((plaintext_b64 === undefined) === (size === undefined)) return oneOfPlaintext;
  const plaintext =
    size === undefined ? bytesIn('plaintext_b64', plaintext_b64 as string, maxPlaintextBytes) : ok(size);
  if (!plaintext.ok) return plaintext;
  const aad = aadIn(body);
  return aad.ok ? ok({ kid, plaintext: plaintext.value, aad: aad.value }) : aad;
}

function unwrapRequestOf(body: BodyOf<typeof unwrapShape>): Result<UnwrapRequest> {
  const wrapped = bytesIn('wrapped_b64', body.wrapped_b64, maxWrappedBytes);
  if (!wrapped.ok) return wrapped;
  const aad = aadIn(body);
  return aad.ok ? ok({ kid: body.kid, wrapped: wrapped.value, aad: aad.value }) : aad;
}

function rewrapRequestOf({ kid, ...body }: BodyOf<typeof rewrapShape>): Result<RewrapRequest> {
  const from = fromIn(body);
  if (!from.ok) return from;
  const aad = aadIn(body);
  return aad.ok ? ok({ kid, from: from.value, aad: aad.value }) : aad;
}

function fromIn({
  wrapped_b64,
  ciphertext_b64,
  nonce_b64,
}: Omit<BodyOf<typeof rewrapShape>, 'kid'>): Result<RewrapRequest['from']> {
  const isEncrypted = ciphertext_b64 !== undefined && nonce_b64 !== undefined;
  if (wrapped_b64 === undefined) return isEncrypted ? encryptedIn(ciphertext_b64, nonce_b64) : oneOfWrapped;
  if (ciphertext_b64 !== undefined || nonce_b64 !== undefined) return oneOfWrapped;
  const wrapped = bytesIn('wrapped_b64', wrapped_b64, maxWrappedBytes);
  return wrapped.ok ? ok({ wrapped: wrapped.value }) : wrapped;
}

function dataKeyRequestOf(body: BodyOf<typeof dataKeyShape>): Result<DataKeyRequest> {
  const { kid, size, plaintext: withPlaintext = false } = body;
  const aad = aadIn(body);
  return aad.ok ? ok({ kid, size, aad: aad.value, withPlaintext }) : aad;
}

function presentEncrypt({ kid, nonce, ciphertext }: EncryptAnswer) {
  return { kid, nonce_b64: encodeBase64(nonce), ciphertext_b64: encodeBase64(ciphertext) };
}

function presentOpened({ kid, plaintext }: Opened) {
  return { kid, plaintext_b64: encodeBase64(plaintext) };
}

function presentWrapped({ kid, wrapped }: Wrapped) {
  return { kid, wrapped_b64: encodeBase64(wrapped) };
}

/** POST /encrypt */
export function encryptEndpoint({ encrypt }: Operations): Endpoint<EncryptRequest, EncryptAnswer> {
  return {
    operation: encrypt,
    parse: typed(encryptShape, encryptRequestOf),
    present: (answer) => ({ status: 200, body: presentEncrypt(answer) }),
  };
}

/** POST /decrypt */
export function decryptEndpoint({ decrypt }: Operations): Endpoint<DecryptRequest, Opened> {
  return {
    operation: decrypt,
    parse: typed(decryptShape, decryptRequestOf),
    present: (answer) => ({ status: 200, body: presentOpened(answer) }),
  };
}

/** POST /encrypt/batch: many encrypt requests in one, each with its own answer or error. */
export function encryptBatchEndpoint({ encrypt_batch }: Operations, maxItems: number) {
  return batchEndpoint(encrypt_batch, maxItems, encryptShape, encryptRequestOf, presentEncrypt);
}

/** POST /decrypt/batch: many decrypt requests in one, each with its own answer or error. */
export function decryptBatchEndpoint({ decrypt_batch }: Operations, maxItems: number) {
  return batchEndpoint(decrypt_batch, maxItems, decryptShape, decryptRequestOf, presentOpened);
}

/** POST /wrap */
export function wrapEndpoint({ wrap }: Operations): Endpoint<WrapRequest, Wrapped> {
  return {
    operation: wrap,
    parse: typed(wrapShape, wrapRequestOf),
    present: (answer) => ({ status: 200, body: presentWrapped(answer) }),
  };
}

/** POST /unwrap */
export function unwrapEndpoint({ unwrap }: Operations): Endpoint<UnwrapRequest, Opened> {
  return {
    operation: unwrap,
    parse: typed(unwrapShape, unwrapRequestOf),
    present: (answer) => ({ status: 200, body: presentOpened(answer) }),
  };
}

/** POST /rewrap */
export function rewrapEndpoint({ rewrap }: Operations): Endpoint<RewrapRequest, RewrapAnswer> {
  return {
    operation: rewrap,
    parse: typed(rewrapShape, rewrapRequestOf),
    present: ({ kid, to }) => ({
      status: 200,
      body: 'wrapped' in to ? presentWrapped({ kid, ...to }) : presentEncrypt({ kid, ...to }),
    }),
  };
}

/** POST /datakey */
export function dataKeyEndpoint({ datakey }: Operations): Endpoint<DataKeyRequest, DataKeyAnswer> {
  return {
    operation: datakey,
    parse: typed(dataKeyShape, dataKeyRequestOf),
    present: ({ plaintext, ...wrapped }) => ({
      status: 200,
      body:
        plaintext === undefined
          ? presentWrapped(wrapped)
          : { ...presentWrapped(wrapped), plaintext_b64: encodeBase64(plaintext) },
    }),
  };
}

/** POST /random */
export function randomEndpoint({ random }: Operations): Endpoint<RandomRequest, Uint8Array> {
  return {
    operation: random,
    parse: typed(randomShape, ({ size }) => ok({ size })),
    present: (bytes) => ({ status: 200, body: { random_b64: encodeBase64(bytes) } }),
  };
}

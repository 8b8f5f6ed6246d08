import { type TSchema, Type } from '@sinclair/typebox';
import { closed, shapeOf } from '../../json-requests.ts';

/** Of what is encrypted or wrapped, and of its AAD. */
export const maxBytes = 65_536;
/** nonce, tag, and the header of what the KEK wraps. */
const maxOverhead = 64;

const base64 = (bytes: number, description: string) =>
  Type.String({ maxLength: Math.ceil(bytes / 3) * 4, description, contentEncoding: 'base64' });
const keyId = Type.String({
  ...{ minLength: 1, maxLength: 128 },
  description: 'letters, digits, dot, underscore, colon and hyphen',
});
const aad = Type.Optional(base64(maxBytes, 'authenticated and not stored'));

export const shapes = {
  createForThread: shapeOf(closed({ thread_id: Type.String({ minLength: 1, maxLength: 256 }) })),
  create: shapeOf(closed({ key_id: Type.Optional(keyId) })),
  wrap: shapeOf(closed({ plaintext: base64(maxBytes, 'any bytes'), aad })),
  unwrap: shapeOf(closed({ wrapped: base64(maxBytes + maxOverhead, 'of /wrap'), aad })),
  encrypt: shapeOf(closed({ key_id: keyId, plaintext: base64(maxBytes, 'any bytes'), aad })),
  decrypt: shapeOf(
    closed({
      key_id: keyId,
      ciphertext: base64(maxBytes + maxOverhead, 'nonce || ciphertext || tag'),
      aad,
      key_version: Type.Optional(Type.Integer({ minimum: 1 })),
    }),
  ),
  oneKey: shapeOf(closed({ key_id: keyId })),
  rotateKek: shapeOf(
    closed({ new_kek_hex: Type.Optional(Type.String({ pattern: '^[0-9a-fA-F]{64}$', maxLength: 64 })) }),
  ),
};

const wrapped = Type.String({ description: 'base64; opaque' });
const kek = { kek_id: Type.String(), kek_version: Type.Integer() };

/** Answers, for the description. */
export const answers: Readonly<Record<string, TSchema>> = {
  made: closed({ key_id: keyId, key_version: Type.Integer(), wrapped, ...kek }),
  wrapped: closed({ wrapped, ...kek }),
  plaintext: closed({ plaintext: Type.String({ description: 'base64' }) }),
  ciphertext: closed({ ciphertext: Type.String({ description: 'base64' }), key_version: Type.Integer() }),
  rotated: closed({ status: Type.Literal('ok'), ...kek, rewrapped: Type.Integer() }),
  destroyed: closed({ status: Type.Literal('ok'), key_id: keyId }),
  deks: closed({
    deks: Type.Array(
      closed({
        key_id: keyId,
        state: Type.Union([Type.Literal('active'), Type.Literal('destroyed')]),
        created_at: Type.String({ description: 'RFC 3339, UTC' }),
        thread_id: Type.Optional(Type.String()),
        versions: Type.Array(closed({ key_version: Type.Integer(), kek_version: Type.Integer() })),
      }),
    ),
    next: Type.Union([Type.Null(), Type.String({ description: 'the after of the next page' })]),
  }),
  keks: closed({
    keks: Type.Array(
      closed({
        ...kek,
        state: Type.Union([Type.Literal('current'), Type.Literal('old'), Type.Literal('destroyed')]),
        created_at: Type.String({ description: 'RFC 3339, UTC' }),
      }),
    ),
    rotation: Type.Union([
      Type.Null(),
      closed({
        ...{ kek_version: Type.Integer(), rewrapped: Type.Integer() },
        ...{ seen: Type.Integer(), unopened: Type.Integer() },
      }),
    ]),
  }),
  error: Type.Object({
    ...{ error: Type.String(), code: Type.String(), request_id: Type.String() },
    retry_after_ms: Type.Optional(Type.Integer({ description: 'where a retry is worth while' })),
  }),
};

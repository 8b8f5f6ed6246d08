import { Type } from '@sinclair/typebox';
import { closed } from '../../json-requests.ts';

/** Longest kid: two names of 63, the longest algorithm name, a UUID, a version, and the separators. */
export const maxKidLength = 256;

/** Characters of base64 (RFC 4648, padded) for so many bytes. */
export function base64Length(bytes: number): number {
  return Math.ceil(bytes / 3) * 4;
}

export const kidText = Type.String({ minLength: 1, maxLength: maxKidLength });

/** BLAKE3-256 of the payload, as the only form in which payloads come here. */
export const payloadB3 = Type.String({ pattern: '^[0-9a-f]{64}$', maxLength: 64 });

/** RFC 9562 text form, any case. */
export const operationId = Type.String({
  pattern: '^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$',
  maxLength: 36,
});

/** Names of algorithms and of signature schemes are short; the registry decides which there are. */
export const algorithmText = Type.String({ minLength: 1, maxLength: 64 });

export const hybridMode = Type.Union([Type.Literal('or'), Type.Literal('and'), Type.Literal('pq_only')]);

export const hybridPolicy = Type.Union([Type.Null(), closed({ mode: Type.Optional(hybridMode) })]);

/** RFC 3339, with nine digits of a fraction at most. */
const moment = Type.String({ minLength: 20, maxLength: 35 });

/** Of a verification: the mode, and the time for which the caller takes the signatures as valid. */
export const verifyPolicy = Type.Union([
  Type.Null(),
  closed({
    mode: Type.Optional(hybridMode),
    not_before: Type.Optional(moment),
    not_after: Type.Optional(moment),
  }),
]);

/** Base64 of an ML-DSA-87 signature, the longest one: 4,627 bytes. */
export const maxSignatureBase64 = 6_172;

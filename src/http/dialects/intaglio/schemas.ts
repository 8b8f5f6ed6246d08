import { Type } from '@sinclair/typebox';
import { digestBytes } from '../../../algorithms/ids.ts';
import { algorithmNames, registry } from '../../../algorithms/registry.ts';
import { maxContextBytes, maxMessageBytes, muBytes } from '../../../algorithms/signed-input.ts';
import { closed } from '../../json-requests.ts';

/**
 * JSON Schema that only the published description has. Code behind the validators checks the same with a better hint, and no
 * request pays for it twice.
 */
export const published = (schema: Readonly<Record<string, unknown>>) => ({ $published: schema });

/** The description as it is published: for JSON.stringify, which asks it about each value. */
export function withPublished(_name: string, value: unknown): unknown {
  if (typeof value !== 'object' || value === null || !('$published' in value)) return value;
  const { $published, ...schema } = value;
  return { ...schema, ...($published as object) };
}

/** Longest kid: two names of 63, the longest algorithm name, a UUID, a version, and the separators. */
export const maxKidLength = 256;

/** Characters of base64 (RFC 4648, padded) for so many bytes. */
export function base64Length(bytes: number): number {
  return Math.ceil(bytes / 3) * 4;
}

const nameForm = '[a-z0-9][a-z0-9._-]{0,62}';
const uuidForm = '[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}';
const algorithmForm = algorithmNames.map((name) => name.replaceAll('+', '\\+')).join('|');

/** The form of keys/kid.ts. Versions go to 2^31 - 1, which a pattern says only at length: here they have nine digits. */
export const kidForm = `^${nameForm}/${nameForm}/(${algorithmForm})/${uuidForm}(#v[1-9][0-9]{0,8})?$`;

export const kidText = Type.String({
  ...{ minLength: 1, maxLength: maxKidLength },
  ...published({ pattern: kidForm }),
});

/** Of core/name.ts: tenants and purposes. */
export const nameOnly = `^${nameForm}$`;
export const publishedName = published({ pattern: nameOnly });

/** Names and aliases of algorithms of keys. */
export const publishedAlgorithm = published({
  enum: registry.flatMap(({ name, aliases }) => [name, ...aliases]),
});

/** The canonical text of core/bytes.ts: padded, and the bits that belong to no byte are zero. */
export const base64Form = '^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/][AQgw]==|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=)?$';
export const publishedBase64 = published({ contentEncoding: 'base64', pattern: base64Form });

/** Of auth/utc.ts: RFC 3339 with `Z`, and at most milliseconds. */
export const utcForm = '^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]{1,3})?Z$';
export const publishedUtc = published({ format: 'date-time', pattern: utcForm });

/** BLAKE3-256 of the payload, as the only form in which payloads come here. */
export const payloadB3 = Type.String({ pattern: '^[0-9a-f]{64}$', maxLength: 64 });

const hashName = Type.Union([Type.Literal('sha256'), Type.Literal('sha384'), Type.Literal('sha512')]);

/** RFC 9562 text form, any case. */
export const operationId = Type.String({
  pattern: '^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$',
  maxLength: 36,
});

/** Names of algorithms and of signature schemes are short; the registry decides which there are. */
export const algorithmText = Type.String({ minLength: 1, maxLength: 64 });

export const hybridMode = Type.Union([Type.Literal('or'), Type.Literal('and'), Type.Literal('pq_only')]);

export const hybridPolicy = Type.Union([Type.Null(), closed({ mode: Type.Optional(hybridMode) })]);

/** Exactly one of payload_b3, message_b64, digest_b64 (with hash) and mu_b64 stands; context_b64 beside any but the last. */
export const signedMembers = {
  payload_b3: Type.Optional(payloadB3),
  message_b64: Type.Optional(Type.String({ maxLength: base64Length(maxMessageBytes), ...publishedBase64 })),
  digest_b64: Type.Optional(Type.String({ maxLength: base64Length(digestBytes.sha512), ...publishedBase64 })),
  hash: Type.Optional(hashName),
  mu_b64: Type.Optional(Type.String({ maxLength: base64Length(muBytes), ...publishedBase64 })),
  context_b64: Type.Optional(Type.String({ maxLength: base64Length(maxContextBytes), ...publishedBase64 })),
};

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

import { type Static, Type } from '@sinclair/typebox';
import { TypeCompiler } from '@sinclair/typebox/compiler';

/** Room for a few sources of each kind; an age file to twenty post-quantum recipients takes 45 KB. */
const maxSources = 16;
export const maxSourcesBytes = 1 << 20;
const maxAgeChars = 128 * 1024;
const maxPathChars = 4_096;
/** A share is a point of a polynomial over GF(2^8) at a place that is not zero. */
export const maxShares = 255;

const text = (maxLength: number) => Type.String({ minLength: 1, maxLength });
const closed = { additionalProperties: false } as const;
const path = text(maxPathChars);
const descriptor = Type.Integer({ minimum: 3, maximum: 65_535 });
/** systemd.exec(5): a file name in $CREDENTIALS_DIRECTORY. */
const credentialName = Type.String({ pattern: '^[A-Za-z0-9][A-Za-z0-9._-]{0,254}$' });
/** age1… (X25519) or age1pq1… (ML-KEM-768 with X25519), in Bech32. */
const recipient = Type.String({ pattern: '^age1(pq1)?[02-9ac-hj-np-z]+$', maxLength: 4_096 });
const recipients = Type.Array(recipient, { minItems: 1, maxItems: 20 });

/** The place of a passphrase, a PIN or an identity file. Paths are absolute, or begin at the data directory. */
const secretPlace = Type.Union([
  Type.Object({ from: Type.Literal('file'), path }, closed),
  Type.Object({ from: Type.Literal('descriptor'), descriptor }, closed),
  Type.Object({ from: Type.Literal('credential'), name: credentialName }, closed),
  /** Asked for, without echo, where there is a terminal. */
  Type.Object({ from: Type.Literal('terminal') }, closed),
]);

const common = {
  /** A name within the list, which is never used again. */
  id: Type.String({ pattern: '^[a-z0-9][a-z0-9-]{0,31}$' }),
  createdAtMs: Type.Integer({ minimum: 0 }),
  /** Generation of the root key that it opens; a rotation adds one. */
  generation: Type.Integer({ minimum: 1, maximum: 2 ** 31 }),
  /** Time at which a command saw it open. */
  checkedAtMs: Type.Optional(Type.Integer({ minimum: 0 })),
  /** The name of that key, 16 hex digits; see rootName. */
  root: Type.String({ pattern: '^[0-9a-f]{16}$' }),
};

const base64 = (maxLength: number) => Type.String({ pattern: '^[A-Za-z0-9+/]+={0,2}$', maxLength });
/** SHA-256 in hex by the numbers of PCRs. */
const pcrValues = Type.Record(
  Type.String({ pattern: '^([0-9]|1[0-9]|2[0-3])$' }),
  Type.String({ pattern: '^[0-9a-f]{64}$' }),
  { ...closed, minProperties: 1 },
);
/** Kernels and firmware that one source may wait for. */
const maxApprovals = 64;

/** See endpointProblem. */
const endpoint = Type.String({ pattern: '^https?://', maxLength: 512 });
export const awsKeyPattern = '^arn:aws(-[a-z]+){0,3}:kms:[a-z0-9-]{4,32}:[0-9]{12}:key/[A-Za-z0-9-]{1,64}$';
const part = '[A-Za-z0-9][A-Za-z0-9._:-]{0,98}';
export const gcpKeyPattern = `^projects/${part}/locations/${part}/keyRings/[A-Za-z0-9_-]{1,63}/cryptoKeys/[A-Za-z0-9_-]{1,63}$`;
export const azureKeyPattern = '^https?://[A-Za-z0-9.:[\\]-]{1,253}/keys/[A-Za-z0-9-]{1,127}/[0-9a-f]{32}$';

/** Armoured age file. */
const age = Type.String({ pattern: '^-----BEGIN AGE ENCRYPTED FILE-----', maxLength: maxAgeChars });

const source = Type.Union([
  Type.Object({ ...common, kind: Type.Literal('file'), path }, closed),
  Type.Object({ ...common, kind: Type.Literal('descriptor'), descriptor }, closed),
  Type.Object({ ...common, kind: Type.Literal('credential'), name: credentialName }, closed),
  Type.Object({ ...common, kind: Type.Literal('passphrase'), age, passphrase: secretPlace }, closed),
  Type.Object(
    { ...common, kind: Type.Literal('recipients'), age, recipients, identity: Type.Optional(secretPlace) },
    closed,
  ),
  Type.Object(
    {
      ...common,
      kind: Type.Literal('shares'),
      threshold: Type.Integer({ minimum: 2, maximum: maxShares }),
      /** The officers' keys: share n is encrypted to the n-th. */
      recipients: Type.Array(recipient, { minItems: 2, maxItems: maxShares }),
      /** The directory of the shares' files. */
      directory: path,
      /** Identity files that a start may use where they can be read. */
      identities: Type.Optional(Type.Array(path, { minItems: 1, maxItems: maxShares })),
    },
    closed,
  ),
  Type.Object(
    {
      ...common,
      kind: Type.Literal('pkcs11'),
      module: path,
      /** The token's label or serial number. */
      token: Type.Union([
        Type.Object({ label: text(32) }, closed),
        Type.Object({ serial: text(16) }, closed),
      ]),
      pin: secretPlace,
      /** CKA_LABEL or, in hex, CKA_ID of the key that wraps. */
      key: Type.Union([
        Type.Object({ label: text(255) }, closed),
        Type.Object({ idHex: Type.String({ pattern: '^([0-9a-f]{2}){1,64}$' }) }, closed),
      ]),
      mechanism: Type.Union([Type.Literal('aes-gcm'), Type.Literal('rsa-oaep')]),
      /** Base64. */
      wrapped: base64(2_048),
    },
    closed,
  ),
  Type.Object(
    {
      ...common,
      kind: Type.Literal('tpm'),
      /** `device:/dev/tpmrm0`, `swtpm:path=…` or `swtpm:host=…,port=…`. */
      tcti: Type.String({ pattern: '^(device|swtpm):', maxLength: 320 }),
      pcrs: Type.Array(Type.Integer({ minimum: 0, maximum: 23 }), {
        minItems: 1,
        maxItems: 24,
        uniqueItems: true,
      }),
      /** DER of SubjectPublicKeyInfo, of P-256. */
      operatorKey: base64(256),
      /** An operator's signature is for this source alone. */
      reference: Type.String({ pattern: '^[0-9a-f]{32}$' }),
      sealed: Type.Object(
        {
          parent: Type.String({ pattern: '^[0-9a-f]{68}$' }),
          publicArea: base64(2_048),
          privateArea: base64(2_048),
          values: pcrValues,
        },
        closed,
      ),
      approved: Type.Array(
        Type.Object(
          { values: pcrValues, signature: base64(96), approvedAtMs: Type.Integer({ minimum: 0 }) },
          closed,
        ),
        { maxItems: maxApprovals },
      ),
      pin: Type.Optional(secretPlace),
    },
    closed,
  ),
  Type.Object(
    {
      ...common,
      kind: Type.Literal('aws'),
      /** ARN of a symmetric key. An alias may be pointed at another key. */
      key: Type.String({ pattern: awsKeyPattern, maxLength: 256 }),
      endpoint: Type.Optional(endpoint),
      algorithm: Type.Literal('SYMMETRIC_DEFAULT'),
      /** At most 6,144 bytes (KMS API reference, Decrypt). */
      wrapped: base64(8_192),
    },
    closed,
  ),
  Type.Object(
    {
      ...common,
      kind: Type.Literal('gcp'),
      /** Resource name of a symmetric key, whose primary version wraps. */
      key: Type.String({ pattern: gcpKeyPattern, maxLength: 512 }),
      endpoint: Type.Optional(endpoint),
      algorithm: Type.Literal('GOOGLE_SYMMETRIC_ENCRYPTION'),
      /** The key version that wrapped. The source opens by it alone. */
      keyVersion: Type.String({ pattern: '^[1-9][0-9]{0,18}$' }),
      wrapped: base64(8_192),
    },
    closed,
  ),
  Type.Object(
    {
      ...common,
      kind: Type.Literal('azure'),
      /** Identifier of a key with its version, of a vault or a managed HSM. */
      key: Type.String({ pattern: azureKeyPattern, maxLength: 512 }),
      algorithm: Type.Union([Type.Literal('RSA-OAEP-256'), Type.Literal('A256KW')]),
      /** 512 bytes of RSA-4096, or 40 of AES-KW. */
      wrapped: base64(2_048),
    },
    closed,
  ),
]);

const fileShape = Type.Object(
  { v: Type.Literal(1), sources: Type.Array(source, { minItems: 1, maxItems: maxSources }) },
  closed,
);
const compiled = TypeCompiler.Compile(fileShape);

export type SecretPlace = Static<typeof secretPlace>;
export type ListedSource = Static<typeof source>;
export type ListedSourceOf<K extends ListedSource['kind']> = Extract<ListedSource, { readonly kind: K }>;
/** In the order in which they are tried. */
export type RootSourcesFile = Static<typeof fileShape>;

/** The list in these bytes, or the problem with them. */
export function parseRootSources(bytes: Uint8Array): RootSourcesFile | string {
  if (bytes.length > maxSourcesBytes) return `has more than ${maxSourcesBytes} bytes`;
  let found: unknown;
  try {
    found = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch {
    return 'is not JSON';
  }
  if (!compiled.Check(found)) return `is not a list of root key sources: ${firstProblem(found)}`;
  const ids = new Set(found.sources.map(({ id }) => id));
  if (ids.size !== found.sources.length) return 'has two sources of one id';
  for (const one of found.sources) {
    if (one.kind === 'shares' && one.threshold > one.recipients.length)
      return `has a source, ${one.id}, that needs more shares than there are`;
  }
  return found;
}

/** The first member that does not fit. Values are not repeated: one may be a secret. */
function firstProblem(found: unknown): string {
  const sources = (found as { sources?: unknown } | null)?.sources;
  if (!Array.isArray(sources)) return compiled.Errors(found).First()?.path || 'it has no member sources';
  for (const [index, one] of sources.entries()) {
    const kind = (one as { kind?: unknown } | null)?.kind;
    const shape = source.anyOf.find((candidate) => candidate.properties.kind.const === kind);
    if (shape === undefined) return `/sources/${index} is of an unknown kind`;
    const error = [...TypeCompiler.Compile(shape).Errors(one)][0];
    if (error !== undefined) return `/sources/${index}${error.path}: ${error.message}`;
  }
  return compiled.Errors(found).First()?.path || 'it has other members';
}

/** True of a list that the next start takes. */
export function isSourceList(file: unknown): file is RootSourcesFile {
  return compiled.Check(file);
}

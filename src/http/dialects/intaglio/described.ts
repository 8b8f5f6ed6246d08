import { type TSchema, Type } from '@sinclair/typebox';
import { publicFormats, publicFormatTypes } from '../../../algorithms/public-formats.ts';
import type { OperationName } from '../../../operations/operations.ts';
import { closed } from '../../json-requests.ts';
import * as answers from './answers.ts';
import { deriveShape, sealShape, unsealShape } from './derivation.ts';
import { csrShape, jwtShape } from './formats.ts';
import { importShape, importVersionShape } from './imports.ts';
import { createBody, destroyBody, rotateBody } from './keys.ts';
import { macShape, macVerifyShape } from './macs.ts';
import { acceptBody } from './operator.ts';
import { publishedAlgorithm, publishedName } from './schemas.ts';
import {
  dataKeyShape,
  decryptShape,
  encryptShape,
  randomShape,
  rewrapShape,
  unwrapShape,
  wrapShape,
} from './sealing.ts';
import { signShape, verifyShape } from './signatures.ts';
import { dischargeBody, exchangeBody, mintBody, revokeBody, rotateTokenKeyBody } from './tokens.ts';

/** What the published description says of an operation besides its path. */
export interface OperationDescription {
  readonly summary: string;
  readonly request?: TSchema;
  /** The body may be left away. */
  readonly optional?: true;
  /** With descriptions. One that is not optional has to be given. */
  readonly query?: Readonly<Record<string, TSchema>>;
  readonly status: number;
  readonly answer?: TSchema;
  /** Of an answer that is not JSON. */
  readonly contentType?: string;
  /** Of further forms that the answer may have. */
  readonly otherContentTypes?: readonly string[];
  readonly example?: unknown;
}

export const kidExample = 'acme/web/ed25519/3f0c2b1e-8a4d-4c55-9b57-5d1f3f6f0a11#v1';
const kid = kidExample;
const payload_b3 = 'd74981efa70a0c880b8d8c1985d075dbcbf679b99a5f9914e5aaf96b831a9e24';
const signature_b64 =
  'pJ9mZC3lJ3m0c0E1n4R7u2x5y8B+D/GIKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789ABCDEA==';
const materialExample = {
  wrapping_key_id: '3f0c2b1e-8a4d-4c55-9b57-5d1f3f6f0a11',
  material_b64: 'AAAA',
};
const text = 'text/plain; charset=utf-8';

/** JSON Schema that holds beside a request's own, where its code asks for one of several members. */
function alsoHolding(schema: TSchema, rule: Readonly<Record<string, unknown>>): TSchema {
  return { ...schema, ...rule };
}

const oneOf = (...members: readonly string[]) => ({
  oneOf: members.map((member) => ({ required: [member] })),
});

const pageSize = (unit: string) =>
  Type.Optional(Type.Integer({ minimum: 1, maximum: 1_000, description: `1 to 1000 ${unit}` }));
/** A position in the log, within 2^53. */
const position = (description: string) =>
  Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER, description });

/** One thing, of which a tenant may narrow only an actor or a time. */
const revokesOneThing = {
  anyOf: ['token', 'actor', 'root_key', 'issued_before', 'tenant'].map((member) => ({ required: [member] })),
  not: {
    anyOf: [
      ...[
        ['token', 'actor'],
        ['token', 'root_key'],
        ['token', 'issued_before'],
        ['token', 'tenant'],
      ],
      ...[
        ['actor', 'root_key'],
        ['actor', 'issued_before'],
        ['root_key', 'issued_before'],
        ['root_key', 'tenant'],
      ],
    ].map((required) => ({ required })),
  },
};

/** A line for every operation: forgetting one does not compile. */
export function describedOperations(
  batchMaxItems: number,
): Readonly<Record<OperationName, OperationDescription>> {
  const batch = (item: TSchema) =>
    closed({ items: Type.Array(item, { minItems: 1, maxItems: batchMaxItems }) });
  const { answer: signed, ...sign } = {
    request: alsoHolding(signShape.schema, oneOf('kid', 'kid_set', 'kid_or_set')),
    answer: answers.signAnswer,
    example: { kid, payload_b3 },
  };
  const verifyExample = { payload_b3, sigs: [{ kid, signature_b64 }] };
  return {
    create: {
      summary: 'Make a key',
      request: createBody,
      status: 201,
      answer: answers.createAnswer,
      example: { purpose: 'web', alg: 'ed25519' },
    },
    list: {
      summary: 'List the keys of the tenant',
      query: {
        purpose: Type.Optional(Type.String({ description: 'of this purpose only', ...publishedName })),
        alg: Type.Optional(Type.String({ description: 'of this algorithm only', ...publishedAlgorithm })),
        cursor: Type.Optional(Type.String({ description: '`next_cursor` of the page before' })),
        limit: pageSize('keys'),
      },
      status: 200,
      answer: answers.listAnswer,
    },
    read: {
      summary: 'Read one key, or one version of it',
      query: {
        format: Type.Optional(
          Type.Union(
            publicFormats.map((format) => Type.Literal(format)),
            {
              description: 'the public key alone, in this format',
            },
          ),
        ),
      },
      status: 200,
      answer: answers.readAnswer,
      otherContentTypes: Object.values(publicFormatTypes),
    },
    rotate: {
      summary: 'Make a new version, which signs from then on',
      request: rotateBody.schema,
      optional: true,
      status: 200,
      answer: answers.rotateAnswer,
      example: { op_id: '00000000-0000-4000-8000-000000000001' },
    },
    destroy: {
      summary: 'Destroy a key, or one version of it',
      request: destroyBody.schema,
      optional: true,
      status: 200,
      answer: answers.destroyAnswer,
      example: { version: 1 },
    },
    export: {
      summary: 'No private key leaves: always 403 ExportForbidden',
      status: 403,
      answer: answers.errorAnswer,
    },
    sign: { summary: 'Sign with a key, or with several together', ...sign, status: 200, answer: signed },
    sign_batch: {
      summary: 'Many sign requests in one',
      request: batch(sign.request),
      status: 200,
      answer: answers.batchOf(signed),
      example: { items: [{ kid, payload_b3 }] },
    },
    verify: {
      summary: 'Verify signatures',
      request: verifyShape.schema,
      status: 200,
      answer: answers.verifyAnswer,
      example: verifyExample,
    },
    verify_batch: {
      summary: 'Many verify requests in one',
      request: batch(verifyShape.schema),
      status: 200,
      answer: answers.batchOf(answers.verifyAnswer),
      example: { items: [verifyExample] },
    },
    jwks: {
      summary: 'Public keys as a JSON Web Key Set, newest first',
      query: {
        purpose: Type.Optional(Type.String({ description: 'of this purpose only', ...publishedName })),
        kid: Type.Optional(Type.String({ description: 'of this key, or this version, only' })),
      },
      status: 200,
      answer: answers.jwksAnswer,
      contentType: 'application/jwk-set+json',
    },
    jwt: {
      summary: 'Sign a JSON Web Token',
      request: jwtShape.schema,
      status: 200,
      answer: answers.jwtAnswer,
      example: { kid, claims: { sub: 'alice' } },
    },
    csr: {
      summary: 'Sign a certification request (PKCS #10)',
      request: csrShape.schema,
      status: 200,
      answer: answers.csrAnswer,
      example: { kid, subject: 'CN=web.example,O=Example' },
    },
    attest: {
      summary: 'Evidence of where a key is, for whoever asked',
      query: {
        kid: Type.String({ description: 'the key, or one version of it' }),
        nonce: Type.Optional(
          Type.String({
            pattern: '^[A-Za-z0-9_-]{11,86}$',
            description:
              '8 to 64 bytes in base64url, which the evidence has as eat_nonce; without it evidence that is kept',
          }),
        ),
      },
      status: 200,
      answer: answers.evidenceAnswer,
    },
    mac: {
      summary: 'Make a tag over a message',
      request: macShape.schema,
      status: 200,
      answer: answers.macAnswer,
      example: { kid: kid.replace('ed25519', 'hmac-sha256'), message_b64: 'aGVsbG8=' },
    },
    mac_verify: {
      summary: 'Verify a tag',
      request: macVerifyShape.schema,
      status: 200,
      answer: answers.macVerifyAnswer,
      example: {
        kid: kid.replace('ed25519', 'hmac-sha256'),
        message_b64: 'aGVsbG8=',
        mac_b64: 'AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=',
      },
    },
    ...describedSealing(batch),
    derive: {
      summary: 'Derive a key: the same input gives the same key',
      request: deriveShape.schema,
      status: 201,
      answer: answers.createAnswer,
      example: {
        kid: kid.replace('ed25519', 'hkdf-sha256'),
        context: { origin: 'edge-1.example', instance: 'a', epoch: 7 },
        alg: 'aes-256-gcm',
      },
    },
    seal: {
      summary: 'Seal a secret under the key of a purpose, which is made at its first use',
      request: sealShape.schema,
      status: 200,
      answer: answers.sealAnswer,
      example: { purpose: 'web', plaintext_b64: 'aGVsbG8=' },
    },
    unseal: {
      summary: 'Open what was sealed, by whatever version sealed it',
      request: unsealShape.schema,
      status: 200,
      answer: answers.unsealAnswer,
      example: { sealed_b64: 'ASMA' },
    },
    import_wrapping_key: {
      summary: 'A public key to wrap key material with, for an hour at most',
      query: {
        alg: Type.Optional(Type.String({ description: 'x25519+ml-kem-768, the default, or rsa-4096' })),
      },
      status: 200,
      answer: answers.wrappingKeyAnswer,
    },
    import: {
      summary: 'Make a key of material that was wrapped for this service, or of a public key alone',
      request: importShape.schema,
      status: 201,
      answer: answers.createAnswer,
      example: { purpose: 'web', alg: 'ed25519', ...materialExample },
    },
    import_version: {
      summary: 'Make the next version of a key in the same way',
      request: importVersionShape.schema,
      status: 200,
      answer: answers.rotateAnswer,
      example: materialExample,
    },
    load: {
      summary: 'What waits and what is used, of the own tenant or of all',
      status: 200,
      answer: answers.loadAnswer,
    },
    root: {
      summary: 'The root key: its generation, its sources, and a rotation that is under way',
      status: 200,
      answer: answers.rootAnswer,
    },
    root_rotate: {
      summary: 'Replace the root key: every record is sealed anew while the service goes on',
      request: closed({}),
      status: 202,
      answer: answers.rootAnswer,
      example: {},
    },
    audit_checkpoint: {
      summary: 'The newest checkpoint of the audit log, a signed note',
      status: 200,
      contentType: text,
    },
    audit_tile: {
      summary: 'A file of the exported log (C2SP tlog-tiles)',
      status: 200,
      contentType: 'application/octet-stream',
    },
    audit_proof: {
      summary: 'The proof of one record (C2SP tlog-proof)',
      query: { index: position('position of the record, from 0') },
      status: 200,
      contentType: text,
    },
    audit_vkeys: {
      summary: "The verifier keys of the log's checkpoints",
      status: 200,
      answer: answers.vkeysAnswer,
    },
    audit_rotate_keys: {
      summary: "Replace the keys that sign the log's checkpoints",
      request: closed({}),
      status: 200,
      answer: answers.vkeysAnswer,
      example: {},
    },
    audit_records: {
      summary: 'Records of the audit log',
      query: {
        from: Type.Optional(position('position to begin at')),
        limit: pageSize('records'),
        op_id: Type.Optional(Type.String({ description: 'of this operation only' })),
      },
      status: 200,
      answer: answers.recordsAnswer,
    },
    audit_accept: {
      summary: 'Begin a new epoch after an integrity failure; takes two people',
      request: alsoHolding(acceptBody, oneOf('reason', 'approval')),
      status: 200,
      answer: answers.acceptAnswer,
      example: { reason: 'restored from the copy of 2 May' },
    },
    audit_pending: {
      summary: 'Acceptances that wait for a second person',
      status: 200,
      answer: answers.pendingAnswer,
    },
    token_exchange: {
      summary: 'A certificate, a JSON Web Token or a peer for a capability',
      request: exchangeBody.schema,
      optional: true,
      status: 201,
      answer: answers.mintAnswer,
      example: {},
    },
    token_mint: {
      summary: 'Make a capability',
      request: alsoHolding(mintBody, { not: { required: ['ttl_s', 'expires_at'] } }),
      status: 201,
      answer: answers.mintAnswer,
      example: { tenant: 'acme', scopes: ['kms:sign'], ttl_s: 3_600 },
    },
    token_discharge: {
      summary: 'Agree to the call of somebody else',
      request: dischargeBody,
      status: 201,
      answer: answers.dischargeAnswer,
      example: {
        caveat_id: 'AAAA',
        operation: 'destroy',
        kid,
        request: { op_id: '00000000-0000-4000-8000-000000000001' },
      },
    },
    token_revoke: {
      summary: 'Take capabilities back',
      request: alsoHolding(revokeBody, revokesOneThing),
      status: 200,
      answer: answers.revokeAnswer,
      example: { actor: 'cap:0123456789abcdef' },
    },
    token_keys: {
      summary: 'The root keys of capabilities, without the keys themselves',
      status: 200,
      answer: answers.tokenKeysAnswer,
    },
    token_rotate_key: {
      summary: 'Make a new root key of capabilities',
      request: rotateTokenKeyBody.schema,
      optional: true,
      status: 201,
      answer: answers.rotateTokenKeyAnswer,
      example: {},
    },
  };
}

const hello_b64 = 'aGVsbG8=';
const sealingKid = kid.replace('ed25519', 'xaes-256-gcm');
const nonce_b64 = 'AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA';

type SealingName = 'encrypt' | 'decrypt' | 'wrap' | 'unwrap' | 'rewrap' | 'datakey' | 'random';

function describedSealing(
  batch: (item: TSchema) => TSchema,
): Pick<
  Readonly<Record<OperationName, OperationDescription>>,
  SealingName | 'encrypt_batch' | 'decrypt_batch'
> {
  const encryptExample = { kid: sealingKid, plaintext_b64: hello_b64 };
  const decryptExample = { kid: sealingKid, ciphertext_b64: hello_b64, nonce_b64 };
  return {
    encrypt: {
      summary: 'Encrypt, with a nonce that is made for it',
      request: encryptShape.schema,
      status: 200,
      answer: answers.encryptAnswer,
      example: encryptExample,
    },
    encrypt_batch: {
      summary: 'Many encrypt requests in one',
      request: batch(encryptShape.schema),
      status: 200,
      answer: answers.batchOf(answers.encryptAnswer),
      example: { items: [encryptExample] },
    },
    decrypt: {
      summary: 'Decrypt by the version that encrypted',
      request: decryptShape.schema,
      status: 200,
      answer: answers.openedAnswer,
      example: decryptExample,
    },
    decrypt_batch: {
      summary: 'Many decrypt requests in one',
      request: batch(decryptShape.schema),
      status: 200,
      answer: answers.batchOf(answers.openedAnswer),
      example: { items: [decryptExample] },
    },
    wrap: {
      summary: 'Wrap a key, or a new one that nobody is told',
      request: wrapShape.schema,
      status: 200,
      answer: answers.wrapAnswer,
      example: { kid: sealingKid, size: 32 },
    },
    unwrap: {
      summary: 'Unwrap by the version that wrapped',
      request: unwrapShape.schema,
      status: 200,
      answer: answers.openedAnswer,
      example: { kid: sealingKid, wrapped_b64: hello_b64 },
    },
    rewrap: {
      summary:
        'Wrap or encrypt anew by the current version; needs kms:unwrap and kms:wrap, for a ciphertext kms:decrypt and kms:encrypt',
      request: rewrapShape.schema,
      status: 200,
      answer: answers.rewrapAnswer,
      example: { kid: sealingKid, wrapped_b64: hello_b64 },
    },
    datakey: {
      summary: 'Make a data key, wrapped; with the plaintext it needs kms:unwrap too',
      request: dataKeyShape.schema,
      status: 200,
      answer: answers.dataKeyAnswer,
      example: { kid: sealingKid, size: 32, plaintext: true },
    },
    random: {
      summary: 'Random bytes',
      request: randomShape.schema,
      status: 200,
      answer: answers.randomAnswer,
      example: { size: 32 },
    },
  };
}

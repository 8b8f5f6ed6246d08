import { Type } from '@sinclair/typebox';
import { ok, type Result, refuse } from '../../../core/result.ts';
import type { KeyMade } from '../../../keys/keyring.ts';
import type { ChangeName } from '../../../operations/idempotency.ts';
import type { Operations } from '../../../operations/operations.ts';
import type {
  ImportRequest,
  ImportVersionRequest,
  KeyMaterial,
  WrappingKeyAnswer,
  WrappingKeyRequest,
} from '../../../operations/sealing/import-key.ts';
import type { Endpoint } from '../../dialect.ts';
import { closed, parseQuery, shapeOf, typed } from '../../json-requests.ts';
import { keyPolicy, policyIn, presentMade, presentNext } from './keys.ts';
import { presentPublicKey, timestamp } from './present.ts';
import { algorithmText, operationId } from './schemas.ts';
import { type BodyOf, bytesIn, bytesText } from './sealing.ts';

/** An RSA-4096 key as PKCS#8 is 2,380 bytes; wrapped by X-Wing 1,136 more, by RSA-4096 some 530. */
const maxMaterialBytes = 8 * 1024;
/** Of ML-DSA-87 it has 2,614 bytes. */
const maxSpkiBytes = 4 * 1024;

const material = {
  wrapping_key_id: Type.Optional(operationId),
  material_b64: Type.Optional(bytesText(maxMaterialBytes)),
  spki_b64: Type.Optional(bytesText(maxSpkiBytes)),
  op_id: Type.Optional(operationId),
};

export const importShape = shapeOf(
  closed({
    purpose: Type.String({ minLength: 1, maxLength: 63 }),
    alg: algorithmText,
    policy: Type.Optional(Type.Union([Type.Null(), keyPolicy])),
    ...material,
  }),
);
export const importVersionShape = shapeOf(closed(material));

/** GET /keys/import/wrapping-key?alg= */
export function wrappingKeyEndpoint({
  import_wrapping_key,
}: Operations): Endpoint<WrappingKeyRequest, WrappingKeyAnswer> {
  return {
    operation: import_wrapping_key,
    parse({ query }) {
      const parsed = parseQuery(query, ['alg']);
      // A plus that is not escaped is a space there, and no name has one.
      return parsed.ok ? ok({ alg: parsed.value.alg?.replaceAll(' ', '+') }) : parsed;
    },
    present: ({ id, algorithm, publicKey, expiresAtMs, info }) => ({
      status: 200,
      body: {
        wrapping_key_id: id,
        alg: algorithm.name,
        public: presentPublicKey(algorithm, [publicKey]),
        expires_at: timestamp(expiresAtMs),
        info,
      },
    }),
  };
}

/** POST /keys/import */
export function importEndpoint(operations: Operations): Endpoint<ImportRequest, KeyMade> {
  return {
    operation: operations.import,
    parse: typed(importShape, (body) => {
      const brought = materialIn(body);
      if (!brought.ok) return brought;
      const { purpose, alg, policy } = body;
      return ok({
        ...{ purpose, alg, ...policyIn(policy) },
        ...{ material: brought.value, name: nameOf(body) },
      });
    }),
    present: presentMade,
  };
}

/** POST /keys/{kid}/import */
export function importVersionEndpoint({
  import_version,
}: Operations): Endpoint<ImportVersionRequest, KeyMade> {
  return {
    operation: import_version,
    parse: typed(importVersionShape, (body, { named = '' }) => {
      const brought = materialIn(body);
      return brought.ok ? ok({ kid: named, material: brought.value, name: nameOf(body) }) : brought;
    }),
    present: presentNext,
  };
}

function nameOf({ op_id: id }: { readonly op_id?: string }): ChangeName | undefined {
  return id === undefined ? undefined : { id };
}

const oneMaterial = refuse('BadRequest', 'give either wrapping_key_id and material_b64, or spki_b64');

function materialIn({
  wrapping_key_id: wrappingKeyId,
  material_b64,
  spki_b64,
}: BodyOf<typeof importVersionShape>): Result<KeyMaterial> {
  if (spki_b64 !== undefined) {
    if (wrappingKeyId !== undefined || material_b64 !== undefined) return oneMaterial;
    const spki = bytesIn('spki_b64', spki_b64, maxSpkiBytes);
    return spki.ok ? ok({ spki: spki.value }) : spki;
  }
  if (wrappingKeyId === undefined || material_b64 === undefined) return oneMaterial;
  const wrapped = bytesIn('material_b64', material_b64, maxMaterialBytes);
  return wrapped.ok ? ok({ wrappingKeyId, wrapped: wrapped.value }) : wrapped;
}

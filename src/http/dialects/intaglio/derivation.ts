import { Type } from '@sinclair/typebox';
import { encodeBase64 } from '../../../core/bytes.ts';
import { ok, type Result } from '../../../core/result.ts';
import type { KeyMade } from '../../../keys/keyring.ts';
import type { Operations } from '../../../operations/operations.ts';
import type { DeriveRequest } from '../../../operations/sealing/derive.ts';
import type { Opened } from '../../../operations/sealing/encrypt.ts';
import type { SealAnswer, SealRequest, UnsealRequest } from '../../../operations/sealing/seal.ts';
import type { Endpoint } from '../../dialect.ts';
import { closed, shapeOf, typed } from '../../json-requests.ts';
import { presentMade } from './keys.ts';
import { algorithmText, kidText } from './schemas.ts';
import {
  aadIn,
  type BodyOf,
  bytesIn,
  bytesText,
  optionalAad,
  plaintextIn,
  plaintextText,
} from './sealing.ts';

const contextPart = Type.String({ pattern: '^[A-Za-z0-9._~-]{1,128}$', maxLength: 128 });

export const deriveShape = shapeOf(
  closed({
    kid: kidText,
    context: closed({
      origin: contextPart,
      instance: contextPart,
      epoch: Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER }),
    }),
    alg: algorithmText,
  }),
);

/** A plaintext of 64 KiB with a header of at most 258 bytes, a nonce and a tag. */
const maxSealedBytes = 64 * 1024 + 258 + 24 + 16;

export const sealShape = shapeOf(
  closed({
    purpose: Type.String({ minLength: 1, maxLength: 63 }),
    plaintext_b64: plaintextText,
    aad_b64: optionalAad,
  }),
);
export const unsealShape = shapeOf(closed({ sealed_b64: bytesText(maxSealedBytes), aad_b64: optionalAad }));

/** POST /derive */
export function deriveEndpoint({ derive }: Operations): Endpoint<DeriveRequest, KeyMade> {
  return { operation: derive, parse: typed(deriveShape, (body) => ok(body)), present: presentMade };
}

/** POST /seal */
export function sealEndpoint({ seal }: Operations): Endpoint<SealRequest, SealAnswer> {
  return {
    operation: seal,
    parse: typed(sealShape, sealRequestOf),
    present: ({ sealed }) => ({ status: 200, body: { sealed_b64: encodeBase64(sealed) } }),
  };
}

/** POST /unseal */
export function unsealEndpoint({ unseal }: Operations): Endpoint<UnsealRequest, Opened> {
  return {
    operation: unseal,
    parse: typed(unsealShape, unsealRequestOf),
    present: ({ plaintext }) => ({ status: 200, body: { plaintext_b64: encodeBase64(plaintext) } }),
  };
}

function sealRequestOf(body: BodyOf<typeof sealShape>): Result<SealRequest> {
  const plaintext = plaintextIn(body);
  if (!plaintext.ok) return plaintext;
  const aad = aadIn(body);
  return aad.ok ? ok({ purpose: body.purpose, plaintext: plaintext.value, aad: aad.value }) : aad;
}

function unsealRequestOf(body: BodyOf<typeof unsealShape>): Result<UnsealRequest> {
  const sealed = bytesIn('sealed_b64', body.sealed_b64, maxSealedBytes);
  if (!sealed.ok) return sealed;
  const aad = aadIn(body);
  return aad.ok ? ok({ sealed: sealed.value, aad: aad.value }) : aad;
}

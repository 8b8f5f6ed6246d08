import { Type } from '@sinclair/typebox';
import { maxMessageBytes } from '../../../algorithms/signed-input.ts';
import { encodeBase64 } from '../../../core/bytes.ts';
import { ok, type Result } from '../../../core/result.ts';
import { standardSchemeName } from '../../../operations/lifecycle/names.ts';
import type {
  IdentifiedDecryptAnswer,
  IdentifiedDecryptRequest,
  IdentifiedEncryptAnswer,
  IdentifiedEncryptRequest,
  IdentifiedSignAnswer,
  IdentifiedSignRequest,
  IdentifiedVerifyAnswer,
  IdentifiedVerifyRequest,
} from '../../../operations/lifecycle/requests.ts';
import type { Operation } from '../../../operations/operation.ts';
import type { Endpoint } from '../../dialect.ts';
import { shapeOf } from '../../json-requests.ts';
import { approvalOf } from './approvals.ts';
import {
  algorithmName,
  approvalText,
  base64Text,
  decodedBytes,
  keyIdText,
  namedPlace,
  placed,
  read,
} from './schemas.ts';

/** Of ML-DSA-87, the longest of ours. */
const maxSignatureBytes = 4_627;
/** Of the longest nonce and more: a length that is wrong is told by the key's algorithm. */
const maxIvBytes = 64;
const maxAadBytes = 64 * 1024;
const tagBytes = 16;

const named = { key_id: keyIdText, algorithm: Type.Optional(algorithmName) };
const approvable = { approval_token: Type.Optional(approvalText) };

export const signBody = placed({ ...named, data: base64Text, ...approvable });

/** POST /sign */
export function signDataEndpoint(
  operation: Operation<IdentifiedSignRequest, IdentifiedSignAnswer>,
): Endpoint<IdentifiedSignRequest, IdentifiedSignAnswer> {
  return {
    operation,
    parse: read(shapeOf(signBody), (body, request) => {
      const data = decodedBytes(body.data, 'data', maxMessageBytes);
      if (!data.ok) return data;
      const approval = approvalOf(body, request);
      if (!approval.ok) return approval;
      const { key_id: keyId, algorithm: alg } = body;
      return ok({ ...namedPlace(body), keyId, alg, data: data.value, approval: approval.value });
    }),
    present: ({ keyId, signature }) => ({
      status: 200,
      body: { signature: encodeBase64(signature), key_id: keyId },
    }),
  };
}

export const verifyBody = placed({ ...named, data: base64Text, signature: base64Text });

/** POST /verify */
export function verifyDataEndpoint(
  operation: Operation<IdentifiedVerifyRequest, IdentifiedVerifyAnswer>,
): Endpoint<IdentifiedVerifyRequest, IdentifiedVerifyAnswer> {
  return {
    operation,
    parse: read(shapeOf(verifyBody), (body) => {
      const data = decodedBytes(body.data, 'data', maxMessageBytes);
      if (!data.ok) return data;
      const signature = decodedBytes(body.signature, 'signature', maxSignatureBytes);
      if (!signature.ok) return signature;
      const { key_id: keyId, algorithm: alg } = body;
      return ok({ ...namedPlace(body), keyId, alg, data: data.value, signature: signature.value });
    }),
    present: ({ valid, keyId, alg }) => ({
      status: 200,
      body: { valid, key_id: keyId, algorithm: standardSchemeName(alg) },
    }),
  };
}

const aad = { aad: Type.Optional(base64Text) };

function aadOf(body: { readonly aad?: string }): Result<Uint8Array> {
  return decodedBytes(body.aad ?? '', 'aad', maxAadBytes);
}

export const encryptBody = placed({ ...named, plaintext: base64Text, ...aad, ...approvable });

/** POST /encrypt */
export function encryptDataEndpoint(
  operation: Operation<IdentifiedEncryptRequest, IdentifiedEncryptAnswer>,
): Endpoint<IdentifiedEncryptRequest, IdentifiedEncryptAnswer> {
  return {
    operation,
    parse: read(shapeOf(encryptBody), (body, request) => {
      const plaintext = decodedBytes(body.plaintext, 'plaintext', maxMessageBytes);
      if (!plaintext.ok) return plaintext;
      const associated = aadOf(body);
      if (!associated.ok) return associated;
      const approval = approvalOf(body, request);
      if (!approval.ok) return approval;
      const { key_id: keyId, algorithm: alg } = body;
      const given = { plaintext: plaintext.value, aad: associated.value, approval: approval.value };
      return ok({ ...namedPlace(body), keyId, alg, ...given });
    }),
    present: ({ keyId, alg, iv, ciphertext }) => ({
      status: 200,
      body: {
        ...{ ciphertext: encodeBase64(ciphertext), key_id: keyId },
        ...{ algorithm: standardSchemeName(alg), iv: encodeBase64(iv) },
      },
    }),
  };
}

export const decryptBody = placed({
  ...named,
  ciphertext: base64Text,
  iv: base64Text,
  ...aad,
  ...approvable,
});

/** POST /decrypt */
export function decryptDataEndpoint(
  operation: Operation<IdentifiedDecryptRequest, IdentifiedDecryptAnswer>,
): Endpoint<IdentifiedDecryptRequest, IdentifiedDecryptAnswer> {
  return {
    operation,
    parse: read(shapeOf(decryptBody), (body, request) => {
      const ciphertext = decodedBytes(body.ciphertext, 'ciphertext', maxMessageBytes + tagBytes);
      if (!ciphertext.ok) return ciphertext;
      const iv = decodedBytes(body.iv, 'iv', maxIvBytes);
      if (!iv.ok) return iv;
      const associated = aadOf(body);
      if (!associated.ok) return associated;
      const approval = approvalOf(body, request);
      if (!approval.ok) return approval;
      const { key_id: keyId, algorithm: alg } = body;
      const given = { ciphertext: ciphertext.value, iv: iv.value, aad: associated.value };
      return ok({ ...namedPlace(body), keyId, alg, ...given, approval: approval.value });
    }),
    present: ({ keyId, plaintext }) => ({
      status: 200,
      body: { plaintext: encodeBase64(plaintext), key_id: keyId },
    }),
  };
}

import { type TSchema, Type } from '@sinclair/typebox';
import * as answers from './answers.ts';
import { archiveKeyBody, generateBody, listKeysQuery, revokeKeyBody, rotateKeyBody } from './keys.ts';
import { eventsQuery, listReceiptsQuery } from './receipts.ts';
import type { RouteName } from './routes.ts';
import { placed } from './schemas.ts';
import * as trust from './trust.ts';
import { decryptBody, encryptBody, signBody, verifyBody } from './uses.ts';
import { addWebhookBody, removeWebhookBody } from './webhooks.ts';

/** What the published description says of a call besides its path. */
export interface DescribedCall {
  readonly summary: string;
  readonly request?: TSchema;
  /** The body may be left away. */
  readonly optional?: true;
  readonly query?: TSchema;
  readonly status: number;
  readonly answer: TSchema;
  /** Of an answer that is not JSON. */
  readonly contentType?: string;
  /** True: it needs the agreement of a second principal. */
  readonly approval?: true;
  readonly example?: unknown;
}

const keyId = '3f0c2b1e-8a4d-4c55-9b57-5d1f3f6f0a11';
const place = { tenant_id: 'tenant123', environment: 'prod', plane: 'laptop' };
const approval_token = 'AgELMjEwNi1leGFtcGxl';
const aKey = { ...place, key_id: keyId };
const data = 'SGVsbG8sIFdvcmxkIQ==';
const certificate = 'MIIBszCCAVmgAwIBAgIUExampleExampleExample';
const anchor_id = '0b9d8a52-4d5e-4d0c-8a1e-2f6f0c9b7d33';

/** A line for every call: forgetting one does not compile. */
export const describedCalls: Readonly<Record<RouteName, DescribedCall>> = {
  generate_key: {
    summary: 'Make a key; the secret of AES-256 is nowhere in the answer',
    ...{ request: generateBody, status: 201, answer: answers.generatedKey, approval: true },
    example: { ...place, key_type: 'RSA-2048', key_usage: ['sign', 'verify'], key_alias: 'my-signing-key' },
  },
  list_keys: {
    summary: 'List the versions of the keys of one place, or of the one key that has an alias',
    ...{ query: listKeysQuery, status: 200, answer: answers.keyPage },
  },
  read_key: {
    summary: 'Read all of a version but its secret',
    ...{ query: placed({}), status: 200, answer: answers.keyMetadata },
  },
  rotate_key: {
    summary: 'Make the next version; the old one goes on verifying and decrypting',
    ...{ request: rotateKeyBody, status: 200, answer: answers.rotatedKey, approval: true },
    example: { ...place, approval_token },
  },
  revoke_key: {
    summary:
      'Destroy the private or secret part for good; repeated, it answers as the first time, and compromised takes the place of other reasons',
    ...{ request: revokeKeyBody, status: 200, answer: answers.revokedKey, approval: true },
    example: { ...place, revocation_reason: 'compromised', approval_token },
  },
  archive_key: {
    summary: 'Let a version make nothing new',
    ...{ request: archiveKeyBody, status: 200, answer: answers.archivedKey, approval: true },
    example: { ...place, approval_token },
  },
  sign: {
    summary: 'Sign data',
    ...{ request: signBody, status: 200, answer: answers.signedData },
    example: { ...aKey, data, algorithm: 'RSA-PSS-SHA256' },
  },
  verify: {
    summary: 'Verify a signature; one that is not valid is an answer as well',
    ...{ request: verifyBody, status: 200, answer: answers.verifiedData },
    example: { ...aKey, data, signature: 'c2lnbmF0dXJl', algorithm: 'RSA-PSS-SHA256' },
  },
  encrypt: {
    summary: 'Encrypt data; the ciphertext ends with its tag',
    ...{ request: encryptBody, status: 200, answer: answers.encryptedData },
    example: { ...aKey, plaintext: data, algorithm: 'AES-256-GCM', aad: 'Y29udGV4dA==' },
  },
  decrypt: {
    summary: 'Decrypt data',
    ...{ request: decryptBody, status: 200, answer: answers.decryptedData },
    example: {
      ...aKey,
      ciphertext: 'Y2lwaGVydGV4dCB3aXRoIHRhZw==',
      iv: 'MTIzNDU2Nzg5MDEy',
      aad: 'Y29udGV4dA==',
    },
  },
  add_trust_anchor: {
    summary: 'Trust a certificate in the place of the request',
    ...{ request: trust.addAnchorBody, status: 201, answer: answers.addedAnchor, approval: true },
    example: { ...place, certificate, anchor_type: 'internal_ca', approval_token },
  },
  list_trust_anchors: {
    summary: 'List what is trusted in a place: the tenant’s own, then those of GLOBAL',
    ...{ query: trust.listAnchorsQuery, status: 200, answer: answers.anchorPage },
  },
  validate_chain: {
    summary: 'Validate a chain against what is trusted in the place of the request (RFC 5280 section 6)',
    ...{ request: trust.validateChainBody, status: 200, answer: answers.chainVerdict },
    example: { ...place, chain: [certificate], purpose: 'client_auth' },
  },
  read_trust_anchor: {
    summary: 'Read a trust anchor',
    ...{ query: trust.anchorQuery, status: 200, answer: answers.trustAnchor },
  },
  remove_trust_anchor: {
    summary: 'Trust a certificate no longer',
    ...{ query: trust.removeAnchorQuery, status: 200, answer: answers.removedAnchor, approval: true },
  },
  set_revocation_list: {
    summary: 'Take the newest revocation list of an anchor’s authority',
    ...{ request: trust.revocationListBody, status: 200, answer: answers.trustAnchor, approval: true },
    example: { ...place, crl: certificate, approval_token },
  },
  enrol_certificate: {
    summary: 'Certify a key: a certificate for a CSR, signed by the managed key of an anchor',
    ...{ request: trust.enrolBody, status: 201, answer: answers.enrolledCertificate, approval: true },
    example: { ...place, csr: certificate, anchor_id, approval_token },
  },
  list_certificates: {
    summary: 'List the certificates that were enrolled',
    ...{ query: trust.listCertificatesQuery, status: 200, answer: answers.certificatePage },
  },
  list_receipts: {
    summary: 'List receipts of calls, the newest first',
    ...{ query: listReceiptsQuery, status: 200, answer: answers.receiptPage },
  },
  read_receipt: {
    summary: 'Read the receipt of a call, by its X-Receipt-Id',
    ...{ status: 200, answer: answers.signedReceipt },
  },
  listen_to_events: {
    summary: 'Listen to events as server-sent events; Last-Event-ID goes on where one was left',
    ...{ query: eventsQuery, status: 200, answer: Type.String(), contentType: 'text/event-stream' },
  },
  create_webhook: {
    summary: 'Have the events of a place sent to a URL, signed as Standard Webhooks says',
    ...{ request: addWebhookBody, status: 201, answer: answers.createdWebhook, approval: true },
    example: {
      ...place,
      url: 'https://receiver.example.com/kms',
      event_types: ['key_rotated'],
      approval_token,
    },
  },
  list_webhooks: {
    summary: 'List webhooks, without their secrets',
    ...{ status: 200, answer: answers.webhookPage },
  },
  delete_webhook: {
    summary: 'Send nothing more to a webhook',
    ...{
      request: removeWebhookBody,
      optional: true,
      status: 200,
      answer: answers.deletedWebhook,
      approval: true,
    },
    example: { approval_token },
  },
};

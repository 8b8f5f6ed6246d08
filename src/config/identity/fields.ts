import { field } from '../field.ts';
import { boolean, path } from '../kinds.ts';
import {
  type CertificateMapping,
  certificateMappings,
  developmentApprovals,
  optionalTokenName,
  signatureAlgorithms,
} from './kinds.ts';

const usualMapping = 'uri:spiffe://*/tenant/{tenant}/environment/{environment}/plane/{plane}/module/{module}';

/** Settings of who calls the surface `/kms/v1`, and of who agrees to changes there. */
export const identityFields = {
  m33CertificateIdentity: field<readonly CertificateMapping[]>(
    'KMS_M33_CERTIFICATE_IDENTITY',
    certificateMappings,
    {
      text: usualMapping,
      from: () => certificateMappings.parse(usualMapping) as readonly CertificateMapping[],
    },
    'Where a client certificate says its tenant, environments, planes and module for `/kms/v1`: in a URI or DNS name of it, or in attributes of its subject. An environment or plane is one name, several with a hyphen between them (`dev-staging`), or `all`. The first mapping that fits counts; a certificate whose names fit it in different ways says nothing. docs/kms-v1-identity.md.',
  ),
  m33Jwks: field(
    'KMS_M33_JWKS',
    path,
    'none',
    'A file with the public keys (JWK Set, RFC 7517) of those who issue JSON Web Tokens for `/kms/v1`; `none` takes no such token. Read again on SIGHUP, whole or not at all. Needs KMS_M33_JWT_ISSUER and KMS_M33_JWT_AUDIENCE.',
  ),
  m33JwtIssuer: field(
    'KMS_M33_JWT_ISSUER',
    optionalTokenName,
    '',
    'The claim `iss` that JSON Web Tokens for `/kms/v1` have to have.',
  ),
  m33JwtAudience: field(
    'KMS_M33_JWT_AUDIENCE',
    optionalTokenName,
    '',
    'The claim `aud` that JSON Web Tokens for `/kms/v1` have to have, so that a token for another service is of no use here.',
  ),
  m33JwtAlgs: field<readonly string[]>(
    'KMS_M33_JWT_ALGS',
    signatureAlgorithms,
    {
      text: 'EdDSA,Ed25519,ES256,PS256,RS256',
      from: () => ['EdDSA', 'Ed25519', 'ES256', 'PS256', 'RS256'],
    },
    'The signature algorithms that JSON Web Tokens for `/kms/v1` may have, and approvals by keys of KMS_APPROVER_JWKS; others do not hold. Symmetric ones and `none` cannot be named.',
  ),
  approverJwks: field(
    'KMS_APPROVER_JWKS',
    path,
    'none',
    'A file with the public keys (JWK Set) of those who may agree to changes under dual authorization with a signed token of their own; `none` takes only agreements that this service made (`intaglio approve`). Read again on SIGHUP, whole or not at all.',
  ),
  m33DevIdentity: field(
    'KMS_M33_DEV_IDENTITY',
    boolean,
    false,
    'DEVELOPMENT ONLY. Whoever sends a header X-Client-Certificate, with any value, is the module `mock-module` of the tenant `mock-tenant` on `/kms/v1`, in every environment and plane. Refused unless every listener is loopback or a Unix socket, and beside KMS_TRUSTED_PROXIES; a line of the log says it at every start. Otherwise nobody looks at that header.',
  ),
  m33DevApprovals: field<readonly string[]>(
    'KMS_M33_DEV_APPROVALS',
    developmentApprovals,
    { text: 'none', from: () => [] },
    'DEVELOPMENT ONLY, with KMS_M33_DEV_IDENTITY=true. Texts that count as the agreement of a second principal to any change, as often as they are sent. They are no secrets: `config explain` shows them.',
  ),
};

import { pemOf, spkiOf } from '../../algorithms/public-formats.ts';
import { x509Signatures } from '../../algorithms/standard-names.ts';
import { ok, type Result, refuse } from '../../core/result.ts';
import type { KeyHandle } from '../../keys/keyring.ts';
import type { CryptoOperation, OperationParts } from '../operation.ts';
import { planDocument, type SignedDocument } from './signed-document.ts';

export interface CsrRequest {
  readonly kid: string;
  /** A distinguished name (RFC 4514): `CN=web.example,O=Example`. */
  readonly subject: string;
  readonly opId: string | undefined;
}

/** A certification request (PKCS #10, RFC 2986). */
export interface CsrAnswer {
  readonly kid: string;
  /** RFC 7468. */
  readonly pem: string;
}

export function csrOperation(parts: OperationParts): CryptoOperation<CsrRequest, CsrAnswer> {
  return {
    kind: 'crypto',
    batch: false,
    name: 'csr',
    scope: 'kms:sign',
    subjects: ({ kid }) => [kid],
    facts: ({ opId }) => ({ opId }),
    plan: (request, caller) => planDocument(parts, request, caller, (handle) => requestOf(request, handle)),
  };
}

const doesNotSign = refuse('Unsupported', 'no certificate is made for such a key');
const badSubject = refuse('BadRequest', 'subject is a distinguished name, like CN=web.example,O=Example');

async function requestOf(
  { subject }: CsrRequest,
  { algorithm, version }: KeyHandle,
): Promise<Result<SignedDocument<CsrAnswer>>> {
  const { kid, parts } = version;
  const spki = spkiOf({ kid, algorithm, publicKeys: parts.map(({ publicKey }) => publicKey) });
  const scheme = algorithm.components[0].schemes.find((way) => x509Signatures.has(way.scheme));
  if (spki === undefined || scheme === undefined) return doesNotSign;
  // Loaded by the first request: it takes as long as a tenth of a start.
  const { beginRequest } = await import('./pkcs10.ts');
  const begun = beginRequest(subject, spki, x509Signatures.get(scheme.scheme) as string);
  if (begun === undefined) return badSubject;
  return ok({
    scheme,
    message: begun.message,
    finish: (signature) => ({ kid, pem: pemOf('CERTIFICATE REQUEST', begun.finish(signature)) }),
  });
}

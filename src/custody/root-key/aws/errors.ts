import { CloudTrouble, type TroubleKind } from '../cloud/trouble.ts';

/** Names of the KMS API reference, "Errors" of Encrypt and Decrypt, and of common errors. */
const kinds: Readonly<Record<string, TroubleKind>> = {
  AbortError: 'slow',
  AccessDeniedException: 'denied',
  CredentialsProviderError: 'no-credentials',
  DependencyTimeoutException: 'away',
  DisabledException: 'disabled',
  ExpiredTokenException: 'no-credentials',
  IncompleteSignature: 'no-credentials',
  IncompleteSignatureException: 'no-credentials',
  IncorrectKeyException: 'not-its',
  InvalidCiphertextException: 'not-its',
  InvalidClientTokenId: 'no-credentials',
  InvalidKeyUsageException: 'unfit',
  InvalidSignatureException: 'no-credentials',
  KMSInternalException: 'away',
  KMSInvalidStateException: 'deletion',
  KeyUnavailableException: 'away',
  LimitExceededException: 'throttled',
  MissingAuthenticationTokenException: 'no-credentials',
  NotFoundException: 'no-key',
  OptInRequired: 'denied',
  RequestLimitExceeded: 'throttled',
  SignatureDoesNotMatch: 'no-credentials',
  ThrottledException: 'throttled',
  Throttling: 'throttled',
  ThrottlingException: 'throttled',
  TimeoutError: 'slow',
  TokenProviderError: 'no-credentials',
  TooManyRequestsException: 'throttled',
  UnrecognizedClientException: 'no-credentials',
};

interface SdkError {
  readonly name?: string;
  readonly code?: string;
  readonly $metadata?: { readonly httpStatusCode?: number };
}

export function awsTrouble(cause: unknown): CloudTrouble {
  if (cause instanceof CloudTrouble) return cause;
  const { name = '', code, $metadata } = cause as SdkError;
  const known = kinds[name];
  if (known !== undefined) return new CloudTrouble(known, name);
  const status = $metadata?.httpStatusCode;
  if (status === 429) return new CloudTrouble('throttled', name);
  if (status !== undefined && status >= 500) return new CloudTrouble('away', String(status));
  if (status !== undefined) return new CloudTrouble('failed', name);
  // Of a socket or a look-up: ECONNREFUSED, ENOTFOUND, ECONNRESET, or of TLS.
  return new CloudTrouble(code === undefined ? 'failed' : 'away', code ?? name);
}

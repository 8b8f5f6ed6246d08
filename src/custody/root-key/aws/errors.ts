import { isTlsCode } from '../cloud/tls.ts';
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

/** Of common errors: the time of a signature is more than five minutes off, which the SDK corrects where the answer has a date. */
const clockNames: ReadonlySet<string> = new Set([
  'RequestExpired',
  'RequestInTheFuture',
  'RequestTimeTooSkewed',
]);
/** InvalidSignatureException and SignatureDoesNotMatch say the two times; the text is read, and not shown. */
const skewed = /Signature (expired|not yet current)/i;
/** The SDK's own names, where an answer has none. */
const unnamed: ReadonlySet<string> = new Set(['', 'Error', 'SyntaxError', 'Unknown', 'UnknownError']);

interface SdkError {
  readonly name?: string;
  readonly message?: string;
  readonly code?: string;
  readonly $metadata?: { readonly httpStatusCode?: number };
}

export function awsTrouble(cause: unknown): CloudTrouble {
  if (cause instanceof CloudTrouble) return cause;
  const { name = '', message = '', code, $metadata } = cause as SdkError;
  if (clockNames.has(name) || skewed.test(message)) return new CloudTrouble('clock', name);
  const known = kinds[name];
  if (known !== undefined) return new CloudTrouble(known, name);
  const status = $metadata?.httpStatusCode;
  if (status === 429) return new CloudTrouble('throttled', name);
  if (status !== undefined && status >= 500) return new CloudTrouble('away', String(status));
  // Redirections, which are not followed, and pages of something on the way: KMS names its errors.
  if (status !== undefined && (status < 400 || unnamed.has(name)))
    return new CloudTrouble('lied', String(status));
  if (status !== undefined) return new CloudTrouble('failed', name);
  if (code !== undefined && isTlsCode(code)) return new CloudTrouble('untrusted', code);
  // Of a socket or a look-up: ECONNREFUSED, ENOTFOUND, ECONNRESET, or of TLS.
  return new CloudTrouble(code === undefined ? 'failed' : 'away', code ?? name);
}

import { isTlsCode } from '../cloud/tls.ts';
import { CloudTrouble } from '../cloud/trouble.ts';

interface SdkError {
  readonly name?: string;
  readonly message?: string;
  readonly code?: unknown;
  readonly statusCode?: number;
  /** Key Vault's own word, such as `{error: {code: "Forbidden", innererror: {code: "KeyDisabled"}}}`. */
  readonly details?: {
    /** The SDK has `innererror` of the wire under another name. */
    readonly error?: { readonly code?: string; readonly innerError?: { readonly code?: string } };
  };
}

/** Names of credentials that are not there or are not taken, of @azure/identity. */
const credentialErrors =
  /^(CredentialUnavailableError|AuthenticationError|AggregateAuthenticationError|AuthenticationRequiredError)$/;

/** The server asks for a token of another domain than its own; the text is read, and not shown. */
const foreignChallenge = /challenge/i;

export function azureTrouble(cause: unknown, opening: boolean): CloudTrouble {
  if (cause instanceof CloudTrouble) return cause;
  const { name = '', message = '', code, statusCode, details } = cause as SdkError;
  if (statusCode === undefined && foreignChallenge.test(message))
    return new CloudTrouble('lied', 'challenge');
  const said = details?.error?.innerError?.code ?? details?.error?.code;
  if (credentialErrors.test(name)) return new CloudTrouble('no-credentials', name);
  if (name === 'AbortError') return new CloudTrouble('slow');
  if (statusCode === undefined) return withoutAnswer(name, code);
  // Redirections, which are not followed, and pages of something on the way: Key Vault names its errors.
  if (statusCode < 400 || (statusCode < 429 && said === undefined))
    return new CloudTrouble('lied', String(statusCode));
  switch (statusCode) {
    case 400:
      return new CloudTrouble(opening ? 'not-its' : 'unfit', said);
    case 401:
      return new CloudTrouble('no-credentials', said);
    case 403:
      return forbidden(said);
    case 404:
      return new CloudTrouble('no-key', said);
    case 409:
      return new CloudTrouble('deletion', said);
    case 429:
      return new CloudTrouble('throttled', '429');
    default:
      return statusCode >= 500
        ? new CloudTrouble('away', String(statusCode))
        : new CloudTrouble('failed', said);
  }
}

function withoutAnswer(name: string, code: unknown): CloudTrouble {
  if (typeof code !== 'string') return new CloudTrouble('failed', name);
  return new CloudTrouble(isTlsCode(code) ? 'untrusted' : 'away', code);
}

function forbidden(said: string | undefined): CloudTrouble {
  if (said !== undefined && /Disabled$/.test(said)) return new CloudTrouble('disabled', said);
  if (said !== undefined && /Expired$|NotYetValid$/.test(said)) return new CloudTrouble('deletion', said);
  return new CloudTrouble('denied', said);
}

import { tlsCodeIn } from '../cloud/tls.ts';
import { CloudTrouble, type TroubleKind } from '../cloud/trouble.ts';

/** Codes of google.rpc.Code. */
const codes: Readonly<Record<number, readonly [name: string, kind: TroubleKind]>> = {
  1: ['CANCELLED', 'slow'],
  2: ['UNKNOWN', 'away'],
  3: ['INVALID_ARGUMENT', 'unfit'],
  4: ['DEADLINE_EXCEEDED', 'slow'],
  5: ['NOT_FOUND', 'no-key'],
  7: ['PERMISSION_DENIED', 'denied'],
  8: ['RESOURCE_EXHAUSTED', 'throttled'],
  9: ['FAILED_PRECONDITION', 'disabled'],
  12: ['UNIMPLEMENTED', 'lied'],
  13: ['INTERNAL', 'away'],
  14: ['UNAVAILABLE', 'away'],
  15: ['DATA_LOSS', 'lied'],
  16: ['UNAUTHENTICATED', 'no-credentials'],
};

/** After the last try google-gax says DEADLINE_EXCEEDED, and the code of that try in its text. */
const lastTry = /retrying error \w*Error: (\d{1,2}) /;

/** Of a token that this machine has signed (oauth2.googleapis.com). */
const clockTexts = /reasonable timeframe|iat and exp values/i;
/** grpc-js of an answer that is not gRPC; 502, 503, 504 and 429 are UNAVAILABLE. */
const httpStatus = /HTTP status code (3\d\d|4(?!29)\d\d)/;

/** The texts are read, and not shown. */
export function gcpTrouble(cause: unknown, opening: boolean): CloudTrouble {
  if (cause instanceof CloudTrouble) return cause;
  const { code: own, message = '' } = cause as { code?: unknown; message?: string };
  if (clockTexts.test(message)) return new CloudTrouble('clock');
  const tls = /No connection established/.test(message) ? tlsCodeIn(message) : undefined;
  if (tls !== undefined) return new CloudTrouble('untrusted', tls);
  if (/larger than/.test(message)) return new CloudTrouble('lied', 'size');
  const status = httpStatus.exec(message)?.[1];
  if (status !== undefined) return new CloudTrouble('lied', status);
  if (/metadata from plugin failed|default credentials|invalid_grant|universe domain/i.test(message))
    return new CloudTrouble('no-credentials');
  const code = own === 4 ? Number(lastTry.exec(message)?.[1] ?? 4) : own;
  const [name, kind] = codes[code as number] ?? [];
  if (name === undefined || kind === undefined) return new CloudTrouble('failed');
  if (opening && (code === 3 || /decrypt\w* failed|ciphertext/i.test(message)))
    return new CloudTrouble('not-its', name);
  if (code === 9 && /DESTROY/i.test(message)) return new CloudTrouble('deletion', name);
  return new CloudTrouble(kind, name);
}

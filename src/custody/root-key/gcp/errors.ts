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
  13: ['INTERNAL', 'away'],
  14: ['UNAVAILABLE', 'away'],
  16: ['UNAUTHENTICATED', 'no-credentials'],
};

/** After the last try google-gax says DEADLINE_EXCEEDED, and the code of that try in its text. */
const lastTry = /retrying error \w*Error: (\d{1,2}) /;

/** The texts are read, and not shown. */
export function gcpTrouble(cause: unknown, opening: boolean): CloudTrouble {
  if (cause instanceof CloudTrouble) return cause;
  const { code: own, message = '' } = cause as { code?: unknown; message?: string };
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

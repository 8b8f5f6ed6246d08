import { responseCodes } from './numbers.ts';

/** The TPM, or the way to it, does not do what it was asked. The message is for the operator, and has no secret. */
export class TpmError extends Error {
  /** The TPM's response code, without the number of handle, session or parameter. Undefined: no answer could be read. */
  readonly code: number | undefined;

  constructor(message: string, code?: number) {
    super(message);
    this.code = code;
  }

  /** True where the TPM did not answer: nothing was done, or nobody knows. */
  get away(): boolean {
    return this.code === undefined;
  }
}

/** Format-one codes carry the number of a handle, a session or a parameter (TPM 2.0 part 2, 6.6). */
function codeOf(responseCode: number): number {
  return (responseCode & 0x80) === 0 ? responseCode : responseCode & 0xbf;
}

const words: Readonly<Record<number, string>> = {
  [responseCodes.authFail]: 'it refused the PIN, and counts that towards its lock-out',
  [responseCodes.badAuth]: 'it refused the authorization',
  [responseCodes.policyFail]: 'the policy is not met',
  [responseCodes.pcrChanged]: 'its PCRs changed meanwhile',
  [responseCodes.lockout]: 'it is locked out after too many wrong authorizations',
  [responseCodes.handle]: 'it has no object of this handle',
  [responseCodes.integrity]: 'what it was given is not of this TPM, or is damaged',
  [responseCodes.nvUninitialized]: 'its counter was never incremented',
  [responseCodes.objectMemory]: 'it has no room for another object: use its resource manager, /dev/tpmrm0',
  [responseCodes.sessionMemory]: 'it has no room for another session: use its resource manager, /dev/tpmrm0',
  [responseCodes.failure]: 'it is in failure mode',
};

export function refusedBy(responseCode: number): TpmError {
  const code = codeOf(responseCode);
  return new TpmError(words[code] ?? `it answered 0x${responseCode.toString(16)}`, code);
}

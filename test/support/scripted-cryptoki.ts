import { setTimeout as sleep } from 'node:timers/promises';
import type { Cryptoki, Handle, TokenInfo } from '../../src/custody/pkcs11/cryptoki.ts';
import { codes } from '../../src/custody/pkcs11/numbers.ts';

/** An error as npm pkcs11js throws it. */
export function cryptokiError(code: number): Error {
  return Object.assign(new Error(`CKR_TEST:${code}`), { code });
}

const info: TokenInfo = {
  label: 'scripted'.padEnd(32),
  manufacturerID: 'tests'.padEnd(32),
  model: 'script'.padEnd(16),
  serialNumber: '1\0\0\0',
  flags: 0,
  firmwareVersion: { major: 1, minor: 2 },
};

/** A module whose calls are counted and can be made to fail, in this process: sign is all that its keys do. */
export class ScriptedCryptoki {
  readonly calls: string[] = [];
  /** Waited for by each signature. */
  signMs = 0;
  pin = '1234';
  flags = 0;
  cantLock = false;
  /** Thrown by the next call of this name. */
  readonly failing = new Map<string, Error>();
  readonly sessions = new Set<number>();
  /** Signatures under way when the module was finalized: must be none. */
  signingAtFinalize = 0;
  signing = 0;
  mostSigning = 0;
  loggedIn = false;
  objects = 1;
  #last = 0;

  get cryptoki(): Cryptoki {
    return this as unknown as Cryptoki;
  }

  count(name: string): number {
    return this.calls.filter((each) => each === name).length;
  }

  /** The module forgets all sessions, as some do after a while. */
  dropSessions(): void {
    this.sessions.clear();
    this.loggedIn = false;
  }

  load(): void {
    this.#called('load');
  }

  C_Initialize(options?: object): void {
    this.#called('C_Initialize');
    if (this.cantLock && options !== undefined) throw cryptokiError(codes.cantLock);
  }

  C_Finalize(): void {
    this.#called('C_Finalize');
    this.signingAtFinalize += this.signing;
    this.dropSessions();
  }

  C_GetSlotList(): Handle[] {
    this.#called('C_GetSlotList');
    return [Buffer.of(1)];
  }

  C_GetTokenInfo(): TokenInfo {
    this.#called('C_GetTokenInfo');
    return { ...info, flags: this.flags };
  }

  C_GetMechanismList(): number[] {
    return [0x1055, 0x1057];
  }

  C_OpenSession(): Handle {
    this.#called('C_OpenSession');
    this.sessions.add(++this.#last);
    return Buffer.of(this.#last);
  }

  C_CloseSession(session: Handle): void {
    this.sessions.delete(session[0] as number);
  }

  C_GetSessionInfo(session: Handle): { readonly state: number } {
    this.#called('C_GetSessionInfo');
    this.#alive(session);
    return { state: 3 };
  }

  C_Login(session: Handle, _user: number, pin: string): void {
    this.#called('C_Login');
    this.#alive(session);
    if (pin !== this.pin) throw cryptokiError(codes.pinIncorrect);
    this.loggedIn = true;
  }

  C_FindObjectsInit(session: Handle): void {
    this.#called('C_FindObjectsInit');
    this.#ready(session);
  }

  C_FindObjects(): Handle[] {
    return this.objects > 0 ? [Buffer.of(7)] : [];
  }

  C_FindObjectsFinal(): void {}

  C_DestroyObject(): void {}

  C_GetAttributeValue(
    session: Handle,
    _key: Handle,
    [{ type }]: [{ type: number }],
  ): { type: number; value: Buffer }[] {
    this.#called('C_GetAttributeValue');
    this.#ready(session);
    const value = type === 0x100 ? Buffer.of(0x40, 0, 0, 0) : Buffer.from('06032b6570', 'hex');
    return [{ type, value }];
  }

  C_SignInit(session: Handle): void {
    this.#called('C_SignInit');
    this.#ready(session);
  }

  async C_SignAsync(session: Handle, data: Buffer): Promise<Buffer> {
    this.signing++;
    this.mostSigning = Math.max(this.mostSigning, this.signing);
    try {
      if (this.signMs > 0) await sleep(this.signMs);
      this.#ready(session);
      return Buffer.concat([data, Buffer.alloc(64)]).subarray(0, 64);
    } finally {
      this.signing--;
    }
  }

  #called(name: string): void {
    this.calls.push(name);
    const error = this.failing.get(name);
    this.failing.delete(name);
    if (error !== undefined) throw error;
  }

  #alive(session: Handle): void {
    if (!this.sessions.has(session[0] as number)) throw cryptokiError(codes.sessionHandleInvalid);
  }

  #ready(session: Handle): void {
    this.#alive(session);
    if (!this.loggedIn) throw cryptokiError(codes.userNotLoggedIn);
  }
}

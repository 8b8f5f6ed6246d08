import { codes } from './numbers.ts';

/** A slot, a session or an object: opaque bytes of the library. */
export type Handle = Buffer;

export interface Attribute {
  readonly type: number;
  readonly value: Buffer | number | boolean | string;
}

export interface Mechanism {
  readonly mechanism: number;
  readonly parameter: object | null;
}

export interface TokenInfo {
  readonly label: string;
  readonly manufacturerID: string;
  readonly model: string;
  readonly serialNumber: string;
  readonly flags: number;
  readonly firmwareVersion: { readonly major: number; readonly minor: number };
}

/** The functions of a PKCS#11 module that are used here, as npm pkcs11js has them. All throw; see `codeOf`. */
export interface Cryptoki {
  load(path: string): void;
  C_Initialize(options?: { readonly flags: number }): void;
  C_Finalize(): void;
  C_GetSlotList(tokenPresent: boolean): Handle[];
  C_GetTokenInfo(slot: Handle): TokenInfo;
  C_GetMechanismList(slot: Handle): number[];
  C_OpenSession(slot: Handle, flags: number): Handle;
  C_CloseSession(session: Handle): void;
  C_GetSessionInfo(session: Handle): { readonly state: number };
  C_Login(session: Handle, user: number, pin: string): void;
  C_FindObjectsInit(session: Handle, template: readonly Attribute[]): void;
  C_FindObjects(session: Handle, most: number): Handle[];
  C_FindObjectsFinal(session: Handle): void;
  C_GetAttributeValue(
    session: Handle,
    object: Handle,
    types: readonly { readonly type: number }[],
  ): { readonly type: number; readonly value: Buffer }[];
  C_CreateObject(session: Handle, template: readonly Attribute[]): Handle;
  C_DestroyObject(session: Handle, object: Handle): void;
  C_GenerateKeyAsync(session: Handle, mechanism: Mechanism, template: readonly Attribute[]): Promise<Handle>;
  C_GenerateKeyPairAsync(
    session: Handle,
    mechanism: Mechanism,
    publicTemplate: readonly Attribute[],
    privateTemplate: readonly Attribute[],
  ): Promise<{ readonly publicKey: Handle; readonly privateKey: Handle }>;
  C_SignInit(session: Handle, mechanism: Mechanism, key: Handle): void;
  C_SignAsync(session: Handle, data: Buffer, room: Buffer): Promise<Buffer>;
  C_EncryptInit(session: Handle, mechanism: Mechanism, key: Handle): void;
  C_EncryptAsync(session: Handle, data: Buffer, room: Buffer): Promise<Buffer>;
  C_DecryptInit(session: Handle, mechanism: Mechanism, key: Handle): void;
  C_DecryptAsync(session: Handle, data: Buffer, room: Buffer): Promise<Buffer>;
  C_WrapKeyAsync(
    session: Handle,
    mechanism: Mechanism,
    wrappingKey: Handle,
    key: Handle,
    room: Buffer,
  ): Promise<Buffer>;
  C_UnwrapKeyAsync(
    session: Handle,
    mechanism: Mechanism,
    unwrappingKey: Handle,
    wrapped: Buffer,
    template: readonly Attribute[],
  ): Promise<Handle>;
}

/** The return value behind an error of the library; some of its errors have it in their text alone. Undefined: it is none. */
export function codeOf(error: unknown): number | undefined {
  const { code, message } = error as { code?: unknown; message?: unknown };
  if (typeof code === 'number' && code !== 0) return code;
  const text = /CKR_[A-Z0-9_]+:(\d+)/.exec(String(message));
  return text === null ? undefined : Number(text[1]);
}

/** `CKR_DEVICE_ERROR (0x30)`, without anything else that a library may put into its texts. */
export function nameOf(error: unknown): string {
  const code = codeOf(error);
  if (code === undefined) return 'the module failed';
  const known = /CKR_[A-Z0-9_]+/.exec(String((error as Error).message))?.[0];
  return `${known ?? 'CKR'} (0x${code.toString(16)})`;
}

/**
 * Asks the module to lock for itself, as several threads will call it; without being asked, none has to. False: it cannot, and
 * takes one operation at a time.
 */
export function initialize(cryptoki: Cryptoki): boolean {
  try {
    cryptoki.C_Initialize({ flags: osLockingOk });
    return true;
  } catch (error) {
    const code = codeOf(error);
    if (code === codes.cryptokiAlreadyInitialized) return true;
    if (code !== codes.cantLock) throw error;
    cryptoki.C_Initialize();
    return false;
  }
}

const osLockingOk = 2;

/** npm pkcs11js, where it is installed: it is an optional dependency, and its install script has to have run. */
export async function loadCryptoki(): Promise<Cryptoki | undefined> {
  try {
    const { PKCS11 } = (await import('pkcs11js')).default;
    return new PKCS11() as unknown as Cryptoki;
  } catch {
    return undefined;
  }
}

/** CKS_RO_USER_FUNCTIONS and CKS_RW_USER_FUNCTIONS. */
const loggedInStates: readonly number[] = [1, 3];

/** Throws CKR_USER_NOT_LOGGED_IN where the session has lost its login, which ends with the last session of a process. */
export function requireLogin(cryptoki: Cryptoki, session: Handle): void {
  if (loggedInStates.includes(cryptoki.C_GetSessionInfo(session).state)) return;
  throw Object.assign(new Error('CKR_USER_NOT_LOGGED_IN'), { code: codes.userNotLoggedIn });
}

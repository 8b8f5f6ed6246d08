/** Data encryption keys, whether a service has them at the other end of a socket or this process itself. */
export interface DekProvider {
  createDekForThread(threadId: string): Promise<DekInfo>;
  /** An id that is taken is refused. */
  createDek(keyId?: string): Promise<DekInfo>;
  getWrapped(keyId: string): Promise<DekInfo>;
  /** nonce (12 bytes) || ciphertext || tag (16 bytes). The id and the AAD are bound. */
  encrypt(keyId: string, plaintext: Uint8Array, aad?: Uint8Array): Promise<Uint8Array>;
  decrypt(keyId: string, ciphertext: Uint8Array, aad?: Uint8Array): Promise<Uint8Array>;
  /** A new version, which encrypts from then on; what the ones before it encrypted stays readable. */
  rotateDek(keyId: string): Promise<DekInfo>;
  /** Bytes of the caller's own by the key encryption key, at most 64 KiB. */
  wrap(plaintext: Uint8Array, aad?: Uint8Array): Promise<KekWrapping>;
  unwrap(wrapped: string, aad?: Uint8Array): Promise<Uint8Array>;
  rotateKek(): Promise<{ readonly kekId: string; readonly kekVersion: number; readonly rewrapped: number }>;
  destroyDek(keyId: string): Promise<void>;
  /** True if calls are answered. */
  healthy(): Promise<boolean>;
  close(): Promise<void>;
}

export interface DekInfo {
  readonly keyId: string;
  readonly keyVersion: number;
  /** Opaque, base64. */
  readonly wrapped: string;
  readonly kekId: string;
  readonly kekVersion: number;
}

export interface KekWrapping {
  /** Opaque, and the caller's to keep. */
  readonly wrapped: string;
  readonly kekId: string;
  readonly kekVersion: number;
}

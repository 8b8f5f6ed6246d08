import { hash } from 'node:crypto';
import type { MacKey } from '../../core/mac-key.ts';
import { ownMember } from '../../core/own-member.ts';

/**
 * The form in which a record names its input. A bare digest of a payload with few possible values tells readers of the log the
 * payload, so `plain` is for tenants that ask for it. `hmac` can be searched by the holder of the tenant's key. `commit` cannot
 * be linked at all, and is opened by the salt that the caller gets.
 */
export type InputHashMode = 'hmac' | 'commit' | 'plain';

export interface InputHashOptions {
  readonly mode: InputHashMode;
  readonly modeOfTenant: Readonly<Record<string, InputHashMode>>;
  /** Names the generation of the tenants' keys, in the record and in their derivation. */
  readonly kid: string;
}

/** Of a bare digest, which is what callers send to be signed. */
const digestAlg = 'blake3';
/** A digest by another name, which was given or made here of a message that came whole: of 32, 48 or 64 bytes. */
const namedDigest = /^(sha256|sha384|sha512|mu):([0-9a-f]{64,128})$/;
const digestBytes = 32;
/** A key and its entry take about 300 bytes; in ordinary memory, 1 KiB. */
const maxCachedKeys = 10_000;

/** A tenant's key, and the bytes that all its messages begin with, with room for a digest behind them. */
interface TenantKey {
  readonly key: MacKey;
  /** The tenant's messages differ in the digest at their end. */
  readonly message: Buffer;
  readonly digestAt: number;
}

export class InputHasher {
  readonly #root: MacKey;
  readonly #options: InputHashOptions;
  readonly #keys = new Map<string, TenantKey>();

  /** `root`: a key that nothing else uses. */
  constructor(root: MacKey, options: InputHashOptions) {
    this.#root = root;
    this.#options = options;
  }

  modeOf(tenant: string): InputHashMode {
    return ownMember(this.#options.modeOfTenant, tenant) ?? this.#options.mode;
  }

  /** `digest`: BLAKE3 as 64 hex digits; or `sha256`, `sha384`, `sha512` or `mu`, a colon, and hex digits. */
  inputHash(tenant: string, opId: string, digest: string): string {
    const mode = this.modeOf(tenant);
    const named = namedDigest.exec(digest);
    if (named !== null)
      return this.#namedInputHash(mode, tenant, opId, named[1] as string, named[2] as string);
    if (mode === 'plain') return `b3:${digest}`;
    const { key, message, digestAt } = this.#key(tenant);
    if (mode === 'commit') {
      return `commit:${inputCommitment(commitmentSalt(key, opId), tenant, digestAlg, digest)}`;
    }
    message.write(digest, digestAt, 'hex');
    return `hmac-sha256:${this.#options.kid}:${key.mac(message).toString('hex')}`;
  }

  #namedInputHash(mode: InputHashMode, tenant: string, opId: string, alg: string, digestHex: string): string {
    if (mode === 'plain') return `${alg}:${digestHex}`;
    const { key } = this.#key(tenant);
    if (mode === 'commit')
      return `commit:${inputCommitment(commitmentSalt(key, opId), tenant, alg, digestHex)}`;
    return `hmac-sha256:${this.#options.kid}:${keyedInputHash(key, tenant, alg, digestHex)}`;
  }

  /** 16 bytes. */
  salt(tenant: string, opId: string): Uint8Array {
    return commitmentSalt(this.#key(tenant).key, opId);
  }

  #key(tenant: string): TenantKey {
    const cached = this.#keys.get(tenant);
    if (cached !== undefined) return cached;
    const info = `intaglio/audit-input/v1\0${tenant}\0${this.#options.kid}`;
    const prefix = Buffer.from(messagePrefix(tenant, digestAlg));
    const message = Buffer.concat([prefix, Buffer.alloc(digestBytes)]);
    const made = { key: this.#root.expand(info), message, digestAt: prefix.length };
    if (this.#keys.size >= maxCachedKeys) this.#keys.clear();
    this.#keys.set(tenant, made);
    return made;
  }
}

function messagePrefix(tenant: string, alg: string): string {
  return `kms-audit-input/v1\0${tenant}\0${alg}\0`;
}

function message(tenant: string, alg: string, digestHex: string): Buffer {
  return Buffer.concat([Buffer.from(messagePrefix(tenant, alg)), Buffer.from(digestHex, 'hex')]);
}

/** Hex of HMAC-SHA-256(K_tenant, "kms-audit-input/v1" 0 tenant 0 alg 0 digest). */
export function keyedInputHash(key: MacKey, tenant: string, alg: string, digestHex: string): string {
  return key.mac(message(tenant, alg, digestHex)).toString('hex');
}

/** HMAC-SHA-256(K_tenant, "kms-audit-salt/v1" 0 op_id), its first 16 bytes. */
export function commitmentSalt(key: MacKey, opId: string): Buffer {
  return key.mac(Buffer.from(`kms-audit-salt/v1\0${opId}`)).subarray(0, 16);
}

/** Hex of SHA-256("kms-audit-commit/v1" 0 salt message): whoever has the salt and the digest can check it. */
export function inputCommitment(salt: Uint8Array, tenant: string, alg: string, digestHex: string): string {
  const prefix = Buffer.from('kms-audit-commit/v1\0');
  return hash('sha256', Buffer.concat([prefix, salt, message(tenant, alg, digestHex)]), 'hex');
}

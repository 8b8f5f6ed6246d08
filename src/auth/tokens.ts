import type { Result } from '../core/result.ts';
import type { CallFacts, Scope } from '../core/scope.ts';

/** A capability to be made. */
export interface TokenWish {
  readonly tenant: string;
  /** At least one. */
  readonly scopes: readonly Scope[];
  /** UTC, milliseconds since 1970. */
  readonly expiresAtMs: number;
  readonly notBeforeMs?: number | undefined;
  /** Further caveats, `name = value` each. */
  readonly caveats: readonly string[];
  /** True: each call needs the discharge of a second principal. */
  readonly dualControl: boolean;
}

export interface MintedToken {
  readonly token: string;
  /** Its pseudonym, by which logs name it and by which it can be revoked. */
  readonly actor: string;
  readonly expiresAtMs: number;
}

/** The agreement of a second principal to one call. */
export interface DischargeWish {
  /** The id of the caveat that asks for it. Undefined: no capability asks, and it is an approval. */
  readonly caveatId: Uint8Array | undefined;
  readonly tenant: string;
  /** The pseudonym of the second principal. */
  readonly approver: string;
  /** Has an op_id where a caveat asks. */
  readonly call: CallFacts;
  readonly expiresAtMs: number;
}

/** The capabilities to revoke. `tenant` undefined: of any. */
export type Revocation =
  /** A capability and all that is attenuated from it. `expiresAtMs`: until when that is needed; undefined where unknown. */
  | {
      readonly by: 'actor';
      readonly tenant: string | undefined;
      readonly actor: string;
      readonly expiresAtMs?: number | undefined;
    }
  | { readonly by: 'root_key'; readonly rootKeyId: number }
  /** All that were issued until then, of one tenant or of all: UTC, milliseconds. */
  | { readonly by: 'issued_before'; readonly tenant: string | undefined; readonly beforeMs: number };

export interface RootKeyState {
  readonly id: number;
  /** New capabilities are made under it. */
  readonly newest: boolean;
  readonly revoked: boolean;
}

/** The maker of capabilities, which also revokes them. It does not ask who may do that. */
export interface TokenAuthority {
  /** BadRequest where a caveat has not its form; Conflict where every root key is revoked. */
  mint(wish: TokenWish): Result<MintedToken>;

  /**
   * A discharge, not bound yet, or an approval, which never is. BadRequest where the caveat is not of this service; NoCapability
   * where the approver has the capability that asks for it; Conflict where every root key is revoked.
   */
  discharge(wish: DischargeWish): Result<string>;

  /** Tenant, pseudonym and end of an authentic token, whether it holds or not; NotFound otherwise. */
  describe(token: string): Result<{ readonly tenant: string } & Omit<MintedToken, 'token'>>;

  /** On disk, and in force, when it resolves. Doing it twice changes nothing. */
  revoke(revocation: Revocation): Promise<Result<void>>;

  rootKeys(): readonly RootKeyState[];

  /** The id of a new root key, under which capabilities are made from then on. */
  rotateRootKey(): Result<number>;
}

import type { GeneralJws } from '../key-evidence.ts';

/** One of the keys that sign evidence. Its private part stays where it is. */
export interface EvidenceSigner {
  /** As JWS has it: RFC 8037, RFC 9964. */
  readonly alg: 'EdDSA' | 'ML-DSA-44';
  /** Name and id of the verifier key, `<origin>+<8 hex digits>`: the beginning of its vkey. */
  readonly kid: string;
  /** Rejects where it cannot sign in time. */
  sign(message: Uint8Array): Promise<Uint8Array>;
}

/** RFC 9782; typed, so that no other JWT of these keys passes for evidence (RFC 8725 section 3.11). */
const mediaType = 'eat+jwt';

/**
 * Every signer signs the same payload. What is signed has no line feed and begins with `eyJ`, so that it is never a
 * checkpoint, which the same keys sign.
 */
export async function signEvidence(
  claims: Uint8Array,
  signers: readonly EvidenceSigner[],
): Promise<GeneralJws> {
  const payload = Buffer.from(claims).toString('base64url');
  const signatures = await Promise.all(
    signers.map(async ({ alg, kid, sign }) => {
      const header = Buffer.from(JSON.stringify({ alg, kid, typ: mediaType })).toString('base64url');
      const signature = await sign(Buffer.from(`${header}.${payload}`));
      return { protected: header, signature: Buffer.from(signature).toString('base64url') };
    }),
  );
  return { payload, signatures };
}

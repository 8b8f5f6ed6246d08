import { CompactSign, exportJWK, generateKeyPair, type JSONWebKeySet, type JWK, SignJWT } from 'jose';

/** A key of an issuer or an approver. */
export interface CallerKey {
  readonly privateKey: Parameters<SignJWT['sign']>[0];
  readonly jwk: JWK & { readonly kid: string };
}

export async function callerKey(kid: string, alg = 'Ed25519'): Promise<CallerKey> {
  const { privateKey, publicKey } = await generateKeyPair(alg, { extractable: true });
  return { privateKey, jwk: { ...(await exportJWK(publicKey)), kid, alg } };
}

export function keySetOf(...keys: readonly CallerKey[]): JSONWebKeySet {
  return { keys: keys.map(({ jwk }) => jwk) };
}

/** A token with exactly these claims; `header` beside alg and kid. */
export function tokenWith(
  key: CallerKey,
  claims: Readonly<Record<string, unknown>>,
  header: Readonly<Record<string, unknown>> = {},
): Promise<string> {
  const { alg = '', kid } = key.jwk;
  return new SignJWT({ ...claims }).setProtectedHeader({ alg, kid, ...header }).sign(key.privateKey);
}

/** A token over a text that no library would write. */
export function tokenOver(key: CallerKey, payload: string): Promise<string> {
  const { alg = '', kid } = key.jwk;
  return new CompactSign(Buffer.from(payload)).setProtectedHeader({ alg, kid }).sign(key.privateKey);
}

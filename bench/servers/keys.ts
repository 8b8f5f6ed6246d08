import { generateKeyPairSync, type KeyObject, randomUUID } from 'node:crypto';
import type { ComparatorReady, ComparedAlgorithm } from '../support/target.ts';

export interface ComparatorKey {
  readonly kid: string;
  readonly alg: ComparedAlgorithm;
  readonly privateKey: KeyObject;
  readonly pubkey_b64: string;
}

/** SubjectPublicKeyInfo ends in the key's own bytes. */
const publicKeyBytes: Readonly<Record<ComparedAlgorithm, number>> = { ed25519: 32, 'ml-dsa-65': 1952 };

function makeKey(alg: ComparedAlgorithm): ComparatorKey {
  const { publicKey, privateKey } =
    alg === 'ed25519' ? generateKeyPairSync('ed25519') : generateKeyPairSync('ml-dsa-65');
  const spki = publicKey.export({ format: 'der', type: 'spki' });
  return {
    kid: `comparison/bench/${alg}/${randomUUID()}#v1`,
    alg,
    privateKey,
    pubkey_b64: spki.subarray(-publicKeyBytes[alg]).toString('base64'),
  };
}

const keys = new Map((['ed25519', 'ml-dsa-65'] as const).map(makeKey).map((key) => [key.kid, key] as const));

const hexDigest = /^[0-9a-f]{64}$/;

/** The key and the message of a request to sign, or undefined where it asks for nothing that is there. */
export function readSignRequest(body: unknown): { key: ComparatorKey; message: Buffer } | undefined {
  if (typeof body !== 'object' || body === null) return undefined;
  const { kid, payload_b3 } = body as { kid?: unknown; payload_b3?: unknown };
  if (typeof kid !== 'string' || typeof payload_b3 !== 'string' || !hexDigest.test(payload_b3))
    return undefined;
  const key = keys.get(kid);
  return key === undefined ? undefined : { key, message: Buffer.from(payload_b3, 'hex') };
}

export function signAnswer({ kid, alg }: ComparatorKey, signature: Buffer): string {
  return JSON.stringify({ kid, sigs: [{ kid, alg, signature_b64: signature.toString('base64') }] });
}

export function announce(port: number): void {
  const ready: ComparatorReady = {
    port,
    keys: Object.fromEntries(
      [...keys.values()].map(({ alg, kid, pubkey_b64 }) => [alg, { kid, pubkey_b64 }]),
    ),
  };
  process.stdout.write(`${JSON.stringify(ready)}\n`);
}

import { combine, split } from 'shamir-secret-sharing';
import { StartError } from '../../core/start-error.ts';
import { decryptByIdentities, encryptForRecipients } from './age.ts';

/**
 * Shamir's secret sharing over GF(2^8): `threshold` shares give the root key, fewer tell nothing of it. A share is 33 bytes, one
 * of each byte's polynomial and its place. Each officer has one, encrypted to the officer's own age key.
 */
const rootKeyBytes = 32;
export const shareBytes = rootKeyBytes + 1;
const wrongLength = `a share has ${shareBytes} bytes`;

export function shareFileName(number: number): string {
  return `share-${number}.age`;
}

/** One armoured age file for each officer, in their order. */
export async function splitForOfficers(
  secret: Uint8Array,
  threshold: number,
  officers: readonly string[],
): Promise<string[]> {
  // The library takes no subclass of Uint8Array, as tokens give.
  const plain = Uint8Array.from(secret);
  const shares = await split(plain, officers.length, threshold).finally(() => plain.fill(0));
  try {
    const files: string[] = [];
    for (const [index, share] of shares.entries())
      files.push(await encryptForRecipients(share, [officers[index] as string]));
    return files;
  } finally {
    for (const share of shares) share.fill(0);
  }
}

/** The share in an officer's file; the caller wipes it. Undefined: no identity opens it. Throws a StartError. */
export async function openShare(
  age: Uint8Array | string,
  identities: readonly string[],
): Promise<Uint8Array | undefined> {
  const share = await decryptByIdentities(age, identities);
  if (share === undefined || share.length === shareBytes) return share;
  share.fill(0);
  throw new StartError(wrongLength);
}

/**
 * Joins shares; the caller wipes them and the key. Too few, or shares of two splits, give another key: the store's witness tells.
 * Throws a StartError.
 */
export async function joinShares(shares: readonly Uint8Array[]): Promise<Uint8Array> {
  if (shares.some(({ length }) => length !== shareBytes)) throw new StartError(wrongLength);
  if (shares.length < 2) throw new StartError('there are fewer than two shares');
  const places = new Set(shares.map((share) => share[shareBytes - 1]));
  if (places.size < shares.length) throw new StartError('a share is given twice');
  return combine([...shares]);
}

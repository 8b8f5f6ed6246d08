import type { LoadRequest } from '../load/plan.ts';
import { ask } from './client.ts';
import type { Product } from './product.ts';
import { firstPayload, readKeyRequest, type SignAnswer, signRequests, verifyRequest } from './requests.ts';

export const workloadNames = [
  ...(['ed25519', 'ml-dsa-44', 'ml-dsa-65', 'ed25519+ml-dsa-65', 'rsa-2048'] as const),
  'mix',
] as const;
export type WorkloadName = (typeof workloadNames)[number];

/** The mix's meaning, in words. */
export const mixMeaning = 'mix: of ten requests, seven sign (Ed25519), two verify, one reads a key';

/** The requests of a workload, for one tenant of its own. */
export async function prepareWorkload(product: Product, name: WorkloadName): Promise<readonly LoadRequest[]> {
  const tenant = `load-${name.replaceAll('+', '-')}`;
  const key = await product.keyOf(tenant, name === 'mix' ? 'ed25519' : name);
  const sign = signRequests(key);
  if (name !== 'mix') return sign;
  const signed = await ask<SignAnswer>(product.port, sign[0] as LoadRequest);
  const verify = verifyRequest(key, signed, firstPayload);
  const read = readKeyRequest(key);
  // Spread over the ten, so that no burst is of one kind.
  return ['s', 's', 'v', 's', 's', 'r', 's', 'v', 's', 's'].map((kind, n) =>
    kind === 's' ? (sign[n] as LoadRequest) : kind === 'v' ? verify : read,
  );
}

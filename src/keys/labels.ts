import { createHash } from 'node:crypto';

/**
 * Labels of derived keys and of what keys open: `ron-kms::<tenant>::<purpose>::<ctx>`. No part holds a colon, so that two
 * different inputs never have the same label. They are the `info` of HKDF (RFC 5869) and HPKE (RFC 9180), in ASCII, and never
 * change with time.
 */
const labelRoot = 'ron-kms';
const separator = '::';

/** What a derived key is for. */
export interface DerivationContext {
  readonly origin: string;
  readonly instance: string;
  /** A whole number from 0 to 2^53 - 1. */
  readonly epoch: number;
}

/** Characters that need no escaping in a URL (RFC 3986, unreserved). */
const contextPart = /^[A-Za-z0-9._~-]{1,128}$/;

export function isDerivationContext({ origin, instance, epoch }: DerivationContext): boolean {
  return contextPart.test(origin) && contextPart.test(instance) && Number.isSafeInteger(epoch) && epoch >= 0;
}

function labelOf(tenant: string, purpose: string, ...context: readonly string[]): string {
  return [labelRoot, tenant, purpose, ...context].join(separator);
}

/** The label of a key of the algorithm `alg`, for a context that isDerivationContext accepts. */
export function derivationLabel(
  tenant: string,
  purpose: string,
  alg: string,
  { origin, instance, epoch }: DerivationContext,
): string {
  return labelOf(tenant, purpose, 'derive', alg, origin, instance, epoch.toFixed(0));
}

/** The label under which a version of a key seals; nothing else is opened under it. */
export function sealingLabel(tenant: string, purpose: string, uuid: string, version: number): string {
  return labelOf(tenant, purpose, 'seal', `${uuid}#v${version}`);
}

/**
 * UUIDv8 (RFC 9562 section 5.8) of these names: the first 16 bytes of SHA-256 over them with a zero byte between, so that every
 * node gives the same key the same kid. No name holds a zero byte, and none is a secret.
 */
export function uuidOf(...names: readonly string[]): string {
  const bytes = createHash('sha256').update(names.join('\0')).digest().subarray(0, 16);
  bytes[6] = ((bytes[6] as number) & 0x0f) | 0x80;
  bytes[8] = ((bytes[8] as number) & 0x3f) | 0x80;
  const hex = bytes.toString('hex');
  return [8, 12, 16, 20, 32].map((end, index) => hex.slice([0, 8, 12, 16, 20][index], end)).join('-');
}

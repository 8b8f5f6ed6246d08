import {
  type BatchItem,
  type BatchResult,
  batchOps,
  encodeBatch,
  readResults,
  responseFor,
} from '../../src/engine/batch.ts';
import {
  type Engine,
  type GeneratedKey,
  type KeyTypeName,
  type RootRef,
  type Scheme,
  type SealingSchemeName,
  schemes,
} from '../../src/engine/engine.ts';
import { buildKeyReference } from '../../src/engine/key-reference.ts';

export const tenant = 'acme';
export const aad = 'acme/web/key/1';

/** Key types that sign; the others make tags, encrypt, wrap or derive. */
export type SigningKeyTypeName = Exclude<KeyTypeName, 'hmac-sha256' | SealingSchemeName>;

const rsaSchemes = [schemes.ps256, schemes.rs256, schemes.ps384, schemes.ps512, schemes.rs384, schemes.rs512];

/** What every engine has; Ed25519ph, which not every engine has, is tested apart. */
export const schemesOf: Readonly<Record<SigningKeyTypeName, readonly Scheme[]>> = {
  ed25519: [schemes.ed25519],
  'ml-dsa-44': [schemes['ml-dsa-44']],
  'ml-dsa-65': [schemes['ml-dsa-65']],
  'ml-dsa-87': [schemes['ml-dsa-87']],
  'ecdsa-p256': [schemes['ecdsa-p256-sha256'], schemes['ecdsa-p256-sha256-p1363']],
  'ecdsa-p384': [schemes['ecdsa-p384-sha384'], schemes['ecdsa-p384-sha384-p1363']],
  'mldsa65-ed25519': [schemes['mldsa65-ed25519']],
  'mldsa44-ed25519': [schemes['mldsa44-ed25519']],
  'mldsa65-p256': [schemes['mldsa65-p256']],
  'rsa-2048': rsaSchemes,
  'rsa-3072': rsaSchemes,
  'rsa-4096': rsaSchemes,
};

let lastKeyNumber = 0;
/** Never reused in this process, as the engines ask. */
export function nextKeyNumber(): number {
  lastKeyNumber += 1;
  return lastKeyNumber;
}

export function runBatch(engine: Engine, root: RootRef, items: readonly BatchItem[]): BatchResult[] {
  const request = encodeBatch(items);
  const response = responseFor(request);
  engine.run(root, request, response);
  return readResults(items, response);
}

export function signItem(
  scheme: Scheme,
  key: GeneratedKey,
  message: Uint8Array,
  { keyNumber = 0, op = batchOps.sign as BatchItem['op'] } = {},
): BatchItem {
  return { op, scheme, keyNumber, key: buildKeyReference(tenant, aad, key.sealed), inputs: [message] };
}

export function signOne(
  engine: Engine,
  root: RootRef,
  scheme: Scheme,
  key: GeneratedKey,
  message: Uint8Array,
): SignResult {
  const result = only(runBatch(engine, root, [signItem(scheme, key, message)]));
  return { status: result.status, signature: signatureOf(result), elapsedNs: result.elapsedNs };
}

export function verifyOne(
  engine: Engine,
  root: RootRef,
  scheme: Scheme,
  publicKey: Uint8Array,
  message: Uint8Array,
  signature: Uint8Array,
  keyNumber = 0,
): number {
  const item = {
    op: batchOps.verify,
    scheme,
    keyNumber,
    key: publicKey,
    inputs: [message, signature],
  } as const;
  return only(runBatch(engine, root, [item])).status;
}

export interface SignResult {
  readonly status: number;
  /** Empty for every status but ok. */
  readonly signature: Uint8Array;
  readonly elapsedNs: number;
}

/** The first output; empty where there is none. */
export function signatureOf(result: BatchResult | undefined): Uint8Array {
  return result?.outputs[0] ?? new Uint8Array(0);
}

function only(results: readonly BatchResult[]): BatchResult {
  const [result] = results;
  if (result === undefined) throw new Error('no result');
  return result;
}

export function bytes(hex: string): Uint8Array<ArrayBuffer> {
  return new Uint8Array(Buffer.from(hex, 'hex'));
}

export function hex(value: Uint8Array): string {
  return Buffer.from(value).toString('hex');
}

/** A copy with one bit changed; bit 0 is the lowest bit of the first byte. */
export function flipBit(value: Uint8Array, bit: number): Uint8Array {
  const copy = Uint8Array.from(value);
  copy[bit >> 3] = (copy[bit >> 3] as number) ^ (1 << (bit & 7));
  return copy;
}

import type { KeyObject, SignKeyObjectInput } from 'node:crypto';
import { BoundedCache } from '../../core/bounded-cache.ts';
import {
  type BatchStatus,
  batchHeaderWords,
  batchOps,
  batchStatuses,
  itemWords,
  maxSignatureBytes,
  readBatchHeader,
  resultTable,
  resultTableBytes,
  resultWords,
} from '../batch.ts';
import { type KeyType, type Scheme, schemes } from '../engine.ts';
import { parseKeyReference } from '../key-reference.ts';
import { importSecret } from './private-keys.ts';
import type { Sealer } from './seal.ts';
import { isScheme, modulusBytes, type SchemeWays, schemeWays } from './signing.ts';

interface OpenedKey {
  readonly keyType: KeyType;
  readonly key: KeyObject;
  /** By scheme, since an RSA key signs in two ways. */
  readonly inputs: Map<Scheme, KeyObject | SignKeyObjectInput>;
}

interface PublicKey {
  readonly scheme: Scheme;
  readonly bytes: Buffer;
  readonly key: KeyObject;
}

export interface Runner {
  run(root: KeyObject, request: Uint8Array, response: Uint8Array): void;
  forget(keyNumber: number): void;
  wipe(): void;
  cachedKeys(): number;
}

type Outcome = BatchStatus | Buffer;

/** One item as the words of the request say it, offsets already checked. */
interface Item {
  readonly op: number;
  readonly scheme: Scheme;
  readonly keyNumber: number;
  readonly key: Uint8Array;
  readonly message: Uint8Array;
  /** In the request for a verification, else the room in the response. */
  readonly signature: Uint8Array;
}

/** `openedKeys` bounds the private keys this thread holds open, and the public keys it holds parsed. */
export function createRunner(sealer: Sealer, openedKeys: number): Runner {
  const privateKeys = new BoundedCache<number, OpenedKey>(openedKeys);
  const publicKeys = new BoundedCache<number, PublicKey>(openedKeys);

  return {
    run(root, request, response) {
      const header = readBatchHeader(request);
      const results = resultTable(response, header);
      for (let index = 0; index < header.count; index++) {
        const startedMs = performance.now();
        const at = index * resultWords;
        const outcome = runItem(root, request, response, header.words, index, header.count);
        results[at] = typeof outcome === 'number' ? outcome : batchStatuses.ok;
        results[at + 1] = typeof outcome === 'number' ? 0 : outcome.length;
        results[at + 2] = Math.min((performance.now() - startedMs) * 1e6, 0xffffffff);
      }
    },
    forget(keyNumber) {
      privateKeys.delete(keyNumber);
      publicKeys.delete(keyNumber);
    },
    wipe() {
      privateKeys.clear();
      publicKeys.clear();
    },
    cachedKeys: () => privateKeys.size,
  };

  function runItem(
    root: KeyObject,
    request: Uint8Array,
    response: Uint8Array,
    words: Uint32Array,
    index: number,
    count: number,
  ): Outcome {
    const item = readItem(request, response, words, index, count);
    if (item === undefined) return batchStatuses.badInput;
    try {
      return item.op === batchOps.verify ? verifyItem(publicKeys, item) : signItem(root, item);
    } catch {
      // Nothing below throws on any input that is known; an unknown one costs its own item only.
      return batchStatuses.internal;
    }
  }

  function signItem(root: KeyObject, item: Item): Outcome {
    const ways = schemeWays[item.scheme];
    const opened = openedKey(root, item);
    if (opened === undefined || !ways.keyTypes.includes(opened.keyType)) return batchStatuses.keyUnusable;
    if (item.signature.length < roomFor(item.scheme, opened.key)) return batchStatuses.badInput;
    let input = opened.inputs.get(item.scheme);
    if (input === undefined) {
      input = ways.signingInput(opened.key);
      opened.inputs.set(item.scheme, input);
    }
    const signature = ways.sign(item.message, input);
    item.signature.set(signature);
    return signature;
  }

  function openedKey(root: KeyObject, item: Item): OpenedKey | undefined {
    const cached = item.keyNumber === 0 ? undefined : privateKeys.get(item.keyNumber);
    if (cached !== undefined) return cached;
    const opening = parseKeyReference(item.key);
    if (opening === undefined) return undefined;
    const blob = sealer.open(root, opening.tenant, opening.aad, opening.sealed);
    if (blob === undefined) return undefined;
    try {
      const key = importSecret(blob.keyType, blob.secret);
      if (key === undefined) return undefined;
      const opened: OpenedKey = { keyType: blob.keyType, key, inputs: new Map() };
      if (item.keyNumber !== 0) privateKeys.set(item.keyNumber, opened);
      return opened;
    } finally {
      blob.secret.fill(0);
    }
  }
}

function verifyItem(publicKeys: BoundedCache<number, PublicKey>, item: Item): BatchStatus {
  const ways = schemeWays[item.scheme];
  const key = publicKeyOf(publicKeys, ways, item);
  if (key === undefined) return batchStatuses.keyUnusable;
  return ways.verify(item.message, key, item.key, item.signature)
    ? batchStatuses.ok
    : batchStatuses.signatureInvalid;
}

/** A cached key answers only for the very bytes it was parsed from. */
function publicKeyOf(
  publicKeys: BoundedCache<number, PublicKey>,
  ways: SchemeWays,
  { scheme, keyNumber, key: bytes }: Item,
): KeyObject | undefined {
  const cached = keyNumber === 0 ? undefined : publicKeys.get(keyNumber);
  if (cached !== undefined && cached.scheme === scheme && cached.bytes.equals(bytes)) return cached.key;
  const key = ways.parsePublic(bytes);
  if (key !== undefined && keyNumber !== 0)
    publicKeys.set(keyNumber, { scheme, bytes: Buffer.from(bytes), key });
  return key;
}

function roomFor(scheme: Scheme, key: KeyObject): number {
  return scheme === schemes.ps256 || scheme === schemes.rs256 ? modulusBytes(key) : maxSignatureBytes[scheme];
}

/** The item, or undefined where it is BAD_INPUT. */
function readItem(
  request: Uint8Array,
  response: Uint8Array,
  words: Uint32Array,
  index: number,
  count: number,
): Item | undefined {
  const at = batchHeaderWords + index * itemWords;
  const word = (offset: number) => words[at + offset] as number;
  const op = word(0);
  const scheme = word(1);
  if (!isScheme(scheme)) return undefined;
  const key = slice(request, word(3), word(4));
  const message = slice(request, word(5), word(6));
  if (key === undefined || message === undefined) return undefined;

  let signature: Uint8Array | undefined;
  if (op === batchOps.verify) {
    signature = slice(request, word(7), word(8));
  } else if (op === batchOps.sign || (op === batchOps.signDeterministic && isDeterministic(scheme))) {
    // Room that overlaps the results would let a signature overwrite a status.
    if (word(7) < resultTableBytes(count)) return undefined;
    signature = slice(response, word(7), word(8));
  }
  if (signature === undefined) return undefined;
  return { op, scheme, keyNumber: word(2), key, message, signature };
}

/**
 * Whether the scheme is deterministic anyway. ECDSA and PSS are not; nor is ML-DSA here, since node:crypto of Node
 * 24.21 passes OpenSSL neither the "deterministic" parameter nor the randomness.
 */
function isDeterministic(scheme: Scheme): boolean {
  return scheme === schemes.ed25519 || scheme === schemes.rs256;
}

function slice(bytes: Uint8Array, offset: number, length: number): Uint8Array | undefined {
  return offset + length > bytes.length ? undefined : bytes.subarray(offset, offset + length);
}

import type { KeyObject } from 'node:crypto';
import { BoundedCache } from '../../core/bounded-cache.ts';
import {
  type BatchHeader,
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
  spanWords,
} from '../batch.ts';
import { type KeyType, type Scheme, type SigningScheme, schemes } from '../engine.ts';
import { parseKeyReference } from '../key-reference.ts';
import { isSealingScheme } from '../rooms.ts';
import {
  CompositeKey,
  type EngineKey,
  noContext,
  type SignatureScheme,
  type SignedBytes,
  single,
} from './keys.ts';
import { importSecret } from './private-keys.ts';
import { isScheme, type MacScheme, opensslSchemes } from './schemes.ts';
import type { Sealer } from './seal.ts';
import { createSealingRunner, type DrawBytes, type SealingItem } from './sealing.ts';
import { modulusBytes } from './signature-schemes.ts';

interface OpenedKey {
  readonly keyType: KeyType;
  readonly key: EngineKey;
}

interface PublicKey {
  readonly scheme: Scheme;
  readonly bytes: Buffer;
  readonly key: EngineKey;
}

export interface Runner {
  /** `before`: opens what `root` does not. */
  run(root: KeyObject, before: KeyObject | undefined, request: Uint8Array, response: Uint8Array): void;
  forget(keyNumber: number): void;
  wipe(): void;
  cachedKeys(): number;
}

/** A status, or the outputs, which stand in their places already. */
type Outcome = BatchStatus | readonly Uint8Array[];

const done: Outcome = [];

/** One item as the words of the request say it, offsets already checked. */
interface Item<Of extends Scheme = Scheme> {
  readonly op: number;
  readonly scheme: Of;
  readonly keyNumber: number;
  readonly key: Uint8Array;
  readonly inputs: readonly Uint8Array[];
  /** Room in the response. */
  readonly outputs: readonly Uint8Array[];
}

type SigningItem = Item<SigningScheme>;

function signs(item: Item): item is SigningItem {
  return !isSealingScheme(item.scheme);
}

/** `openedKeys` bounds the private keys this thread holds open, and the public keys it holds parsed. */
export function createRunner(sealer: Sealer, openedKeys: number, draw?: DrawBytes): Runner {
  const privateKeys = new BoundedCache<number, OpenedKey>(openedKeys);
  const publicKeys = new BoundedCache<number, PublicKey>(openedKeys);
  /** Of the batch that is running: all of it is done in one turn. */
  let rootBefore: KeyObject | undefined;
  const sealing = createSealingRunner({ sealer, open: openedKey, ...(draw && { draw }) });

  return {
    run(root, before, request, response) {
      rootBefore = before;
      const header = readBatchHeader(request);
      const results = resultTable(response, header);
      let lengthAt = header.count * resultWords;
      for (let index = 0; index < header.count; index++) {
        const startedMs = performance.now();
        const outcome = runItem(root, request, response, header, index);
        const rooms = header.words[batchHeaderWords + index * itemWords + 5] as number;
        const outputs = typeof outcome === 'number' ? [] : outcome;
        for (let n = 0; n < rooms; n++) results[lengthAt + n] = outputs[n]?.length ?? 0;
        lengthAt += rooms;
        results[index * resultWords] = typeof outcome === 'number' ? outcome : batchStatuses.ok;
        results[index * resultWords + 1] = Math.min((performance.now() - startedMs) * 1e6, 0xffffffff);
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
    header: BatchHeader,
    index: number,
  ): Outcome {
    const item = readItem(request, response, header, index);
    if (item === undefined) return batchStatuses.badInput;
    try {
      return signs(item) ? runSigning(root, item) : sealing.run(root, item as SealingItem);
    } catch {
      // Nothing below throws on any input that is known; an unknown one costs its own item only.
      return batchStatuses.internal;
    }
  }

  function runSigning(root: KeyObject, item: SigningItem): Outcome {
    const scheme = opensslSchemes[item.scheme];
    return scheme.kind === 'signature' ? runSignature(root, scheme, item) : runMac(root, scheme, item);
  }

  function runSignature(root: KeyObject, scheme: SignatureScheme, item: SigningItem): Outcome {
    const asked = askedOf(scheme, item);
    if (asked === undefined) return batchStatuses.badInput;
    const { input, signature } = asked;
    if (signature !== undefined) {
      const key = publicKeyOf(publicKeys, scheme, item);
      if (key === undefined) return batchStatuses.keyUnusable;
      return scheme.verify(input, key, item.key, signature) ? done : batchStatuses.rejected;
    }
    const [room] = item.outputs;
    if (room === undefined) return batchStatuses.badInput;
    const opened = openedKey(root, item);
    if (opened === undefined || !scheme.keyTypes.includes(opened.keyType)) return batchStatuses.keyUnusable;
    if (room.length < roomFor(item.scheme, opened.key)) return batchStatuses.badInput;
    const made = scheme.sign(input, opened.key);
    room.set(made);
    return [made];
  }

  function runMac(root: KeyObject, scheme: MacScheme, item: SigningItem): Outcome {
    const { op, inputs } = item;
    const [message, tag] = inputs;
    const [room] = item.outputs;
    const makes = op === batchOps.mac && inputs.length === 1 && room !== undefined;
    const checks = op === batchOps.verifyMac && inputs.length === 2;
    if (message === undefined || !(makes || checks)) return batchStatuses.badInput;
    const opened = openedKey(root, item);
    if (opened === undefined || !scheme.keyTypes.includes(opened.keyType)) return batchStatuses.keyUnusable;
    if (tag !== undefined)
      return scheme.verify(message, single(opened.key), tag) ? done : batchStatuses.rejected;
    if (room === undefined || room.length < maxSignatureBytes[item.scheme]) return batchStatuses.badInput;
    const made = scheme.mac(message, single(opened.key));
    room.set(made);
    return [made];
  }

  function openedKey(root: KeyObject, item: Pick<Item, 'key' | 'keyNumber'>): OpenedKey | undefined {
    const cached = item.keyNumber === 0 ? undefined : privateKeys.get(item.keyNumber);
    if (cached !== undefined) return cached;
    const opening = parseKeyReference(item.key);
    if (opening === undefined) return undefined;
    const { tenant, aad, sealed } = opening;
    const blob =
      sealer.open(root, tenant, aad, sealed) ?? (rootBefore && sealer.open(rootBefore, tenant, aad, sealed));
    if (blob === undefined) return undefined;
    try {
      const key = importSecret(blob.keyType, blob.secret);
      if (key === undefined) return undefined;
      const opened: OpenedKey = { keyType: blob.keyType, key };
      if (item.keyNumber !== 0) privateKeys.set(item.keyNumber, opened);
      return opened;
    } finally {
      blob.secret.fill(0);
    }
  }
}

/** How each operation gives what is signed, and whether a signature comes with it. A mu never: node:crypto has no way to sign one. */
const asks: Readonly<Record<number, { readonly form: SignedBytes['form']; readonly verifies: boolean }>> = {
  [batchOps.sign]: { form: 'message', verifies: false },
  [batchOps.signDeterministic]: { form: 'message', verifies: false },
  [batchOps.verify]: { form: 'message', verifies: true },
  [batchOps.signDigest]: { form: 'digest', verifies: false },
  [batchOps.verifyDigest]: { form: 'digest', verifies: true },
};

const maxContextBytes = 255;

/** Undefined where the item asks for what the scheme does not do here. */
function askedOf(
  { digestBytes, takesContext, unavailable }: SignatureScheme,
  { op, scheme, inputs }: Item,
): { readonly input: SignedBytes; readonly signature: Uint8Array | undefined } | undefined {
  const ask = Object.hasOwn(asks, op) ? asks[op] : undefined;
  if (ask === undefined || unavailable) return undefined;
  if (op === batchOps.signDeterministic && !isDeterministic(scheme)) return undefined;
  const { form, verifies } = ask;
  const contextAt = verifies ? 2 : 1;
  if (inputs.length !== contextAt && inputs.length !== contextAt + 1) return undefined;
  const context = inputs[contextAt];
  if (context !== undefined && (!takesContext || context.length > maxContextBytes)) return undefined;
  const bytes = inputs[0] as Uint8Array;
  if (form === 'digest' && bytes.length !== digestBytes) return undefined;
  return {
    input: { form, bytes, context: context ?? noContext },
    signature: verifies ? inputs[1] : undefined,
  };
}

/** A cached key answers only for the very bytes it was parsed from. */
function publicKeyOf(
  publicKeys: BoundedCache<number, PublicKey>,
  { parsePublic }: SignatureScheme,
  { scheme, keyNumber, key: bytes }: Item,
): EngineKey | undefined {
  const cached = keyNumber === 0 ? undefined : publicKeys.get(keyNumber);
  if (cached !== undefined && cached.scheme === scheme && cached.bytes.equals(bytes)) return cached.key;
  const key = parsePublic(bytes);
  if (key !== undefined && keyNumber !== 0)
    publicKeys.set(keyNumber, { scheme, bytes: Buffer.from(bytes), key });
  return key;
}

/** A signature of RSA is as long as the key's modulus. */
function roomFor(scheme: SigningScheme, key: EngineKey): number {
  const isRsa = !(key instanceof CompositeKey) && key.asymmetricKeyType === 'rsa';
  return isRsa ? modulusBytes(key) : maxSignatureBytes[scheme];
}

/** The item, or undefined where it is BAD_INPUT. */
function readItem(
  request: Uint8Array,
  response: Uint8Array,
  { words, count, outputs }: BatchHeader,
  index: number,
): Item | undefined {
  const at = batchHeaderWords + index * itemWords;
  const [op, scheme, keyNumber, firstSpan, inputCount, outputCount] = words.subarray(
    at,
    at + itemWords,
  ) as unknown as [number, number, number, number, number, number];
  if (!isScheme(scheme)) return undefined;
  // Room that overlaps the results would let an output overwrite a status.
  const responseFrom = resultTableBytes(count, outputs);
  const places: Uint8Array[] = [];
  for (let n = 0; n < 1 + inputCount + outputCount; n++) {
    const spanAt = batchHeaderWords + count * itemWords + (firstSpan + n) * spanWords;
    const offset = words[spanAt] as number;
    const isOutput = n > inputCount;
    if (isOutput && offset < responseFrom) return undefined;
    const place = slice(isOutput ? response : request, offset, words[spanAt + 1] as number);
    if (place === undefined) return undefined;
    places.push(place);
  }
  const [key, ...rest] = places as [Uint8Array, ...Uint8Array[]];
  return { op, scheme, keyNumber, key, inputs: rest.slice(0, inputCount), outputs: rest.slice(inputCount) };
}

const deterministic: ReadonlySet<Scheme> = new Set([
  schemes.ed25519,
  schemes.rs256,
  schemes.rs384,
  schemes.rs512,
]);

/**
 * True if the scheme is deterministic anyway. ECDSA and PSS are not; nor is ML-DSA here, since node:crypto of Node 24.21 passes
 * OpenSSL neither the "deterministic" parameter nor the randomness.
 */
function isDeterministic(scheme: Scheme): boolean {
  return deterministic.has(scheme);
}

function slice(bytes: Uint8Array, offset: number, length: number): Uint8Array | undefined {
  return offset + length > bytes.length ? undefined : bytes.subarray(offset, offset + length);
}

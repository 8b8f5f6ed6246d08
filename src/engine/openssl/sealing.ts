import { hkdfSync, type KeyObject, randomFillSync } from 'node:crypto';
import { type BatchStatus, batchOps, batchStatuses } from '../batch.ts';
import { type KeyType, keyTypes, type SealingScheme, schemes } from '../engine.ts';
import { dataKeyBytes, maxPlaintextBytes, readWordInput, unwrappedBytes, wrappedBytes } from '../rooms.ts';
import {
  type AeadScheme,
  aeadSchemes,
  hpkeAead,
  openAead,
  sealAead,
  secretKeyOf,
  wrapKeyOf,
} from './aeads.ts';
import { keySchedule } from './hpke-labels.ts';
import { isSound, secretIn } from './imported.ts';
import { type KemScheme, kemSchemes } from './kems.ts';
import { unwrapPadded, unwrapRsaAes, wrapPadded } from './key-wrap.ts';
import { type EngineKey, single } from './keys.ts';
import { exportSecret, importSecret, isKeyType, publicBytesOf, uniformBytesOf } from './private-keys.ts';
import type { Sealer } from './seal.ts';

/** One item as the words of the request say it, offsets already checked. */
export interface SealingItem {
  readonly op: number;
  readonly scheme: SealingScheme;
  readonly keyNumber: number;
  readonly key: Uint8Array;
  readonly inputs: readonly Uint8Array[];
  /** Room in the response. */
  readonly outputs: readonly Uint8Array[];
}

/** Fills with fresh random bytes. */
export type DrawBytes = (bytes: Buffer) => void;

export interface OpensslSealingParts {
  readonly sealer: Sealer;
  /** The opened key of a reference. */
  open(
    root: KeyObject,
    reference: Pick<SealingItem, 'key' | 'keyNumber'>,
  ): { readonly keyType: KeyType; readonly key: EngineKey } | undefined;
  /** Tests have others than OpenSSL's. */
  readonly draw?: DrawBytes;
}

/** A status, or the outputs, which are copied into their places; the copies here are wiped. */
export type Made = BatchStatus | readonly Uint8Array[];

type Input = Uint8Array;
const { rejected, keyUnusable, badInput } = batchStatuses;

/** The ways of a scheme to wrap. Both give a status where they cannot. */
interface Wrapper {
  wrap(key: Input, keyNumber: number, plaintext: Input, info: Input, aad: Input): Buffer | BatchStatus;
  unwrap(key: Input, keyNumber: number, wrapped: Input, info: Input, aad: Input): Buffer | BatchStatus;
}

/** Runs the items that encrypt, wrap and derive. */
export function createSealingRunner({ sealer, open, draw = randomFillSync }: OpensslSealingParts) {
  return { run };

  function run(root: KeyObject, item: SealingItem): Made {
    const made = make(root, item);
    if (typeof made === 'number') return made;
    const fits =
      made.length === item.outputs.length && made.every((each, n) => each.length <= roomOf(item, n));
    if (fits) for (const [n, each] of made.entries()) item.outputs[n]?.set(each);
    const lengths = fits
      ? made.map((each, n) => (item.outputs[n] as Input).subarray(0, each.length))
      : badInput;
    for (const each of made) each.fill(0);
    return lengths;
  }

  function make(root: KeyObject, item: SealingItem): Made {
    const { op, inputs } = item;
    const expected = inputsOf[op];
    if (expected === undefined || inputs.length !== expected) return badInput;
    switch (op) {
      case batchOps.encrypt:
      case batchOps.decrypt:
      case batchOps.reencrypt:
        return crypt(root, item);
      case batchOps.derive:
        return derive(root, item);
      case batchOps.importWrapped:
        return importWrapped(root, item);
      case batchOps.encryptUnder:
      case batchOps.decryptUnder:
        return cryptUnder(root, item);
    }
    const wrapper = wrapperOf(root, item.scheme);
    return wrapper === undefined ? badInput : wrapBy(wrapper, item);
  }

  function crypt(root: KeyObject, item: SealingItem): Made {
    const aead = aeadOf(item.scheme);
    if (aead === undefined) return badInput;
    const own = secretOf(root, item, aead.keyType);
    if (item.op === batchOps.encrypt) {
      const [plaintext, aad] = item.inputs as [Input, Input];
      if (plaintext.length > maxPlaintextBytes) return badInput;
      return own === undefined ? keyUnusable : encrypt(aead, own, plaintext, aad);
    }
    if (item.op === batchOps.decrypt) {
      const [nonce, ciphertext, aad] = item.inputs as [Input, Input, Input];
      return own === undefined ? keyUnusable : listOf(decrypt(aead, own, nonce, ciphertext, aad));
    }
    const [newReference, nonce, ciphertext, aad] = item.inputs as [Input, Input, Input, Input];
    const next = secretOf(root, { key: newReference, keyNumber: 0 }, aead.keyType);
    if (own === undefined || next === undefined) return keyUnusable;
    const plaintext = decrypt(aead, own, nonce, ciphertext, aad);
    if (typeof plaintext === 'number') return plaintext;
    const made = encrypt(aead, next, plaintext, aad);
    plaintext.fill(0);
    return made;
  }

  /** By a data key of the scheme's own length, which an AEAD key has wrapped. */
  function cryptUnder(root: KeyObject, { op, key, keyNumber, inputs, scheme }: SealingItem): Made {
    const aead = aeadOf(scheme);
    if (aead === undefined) return badInput;
    const [wrapped, info, wrapAad, ...rest] = inputs as [Input, Input, Input, ...Input[]];
    if (wrapped.length !== wrappedBytes(scheme, keyBytes)) return rejected;
    const opened = aeadWrapper(root, aead).unwrap(key, keyNumber, wrapped, info, wrapAad);
    if (typeof opened === 'number') return opened;
    const dataKey = secretKeyOf(opened);
    if (op === batchOps.encryptUnder) {
      const [plaintext, aad] = rest as [Input, Input];
      return plaintext.length > maxPlaintextBytes ? badInput : encrypt(aead, dataKey, plaintext, aad);
    }
    const [nonce, ciphertext, aad] = rest as [Input, Input, Input];
    return listOf(decrypt(aead, dataKey, nonce, ciphertext, aad));
  }

  function encrypt(aead: AeadScheme, key: KeyObject, plaintext: Input, aad: Input): Buffer[] {
    const nonce = fresh(aead.nonceBytes);
    return [nonce, sealAead(aead, key, nonce, plaintext, aad)];
  }

  function wrapBy(wrapper: Wrapper, { op, key, keyNumber, inputs, outputs, scheme }: SealingItem): Made {
    if (op === batchOps.wrap) {
      const [plaintext, info, aad] = inputs as [Input, Input, Input];
      return listOf(wrapper.wrap(key, keyNumber, plaintext, info, aad));
    }
    if (op === batchOps.unwrap) {
      const [wrapped, info, aad] = inputs as [Input, Input, Input];
      const made = wrapper.unwrap(key, keyNumber, wrapped, info, aad);
      // The room is for the longest plaintext, which KWP does not always give.
      const room = outputs.length === 1 && roomOf({ outputs }, 0) >= unwrappedBytes(scheme, wrapped.length);
      return room ? listOf(made) : badInput;
    }
    if (op === batchOps.rewrap) {
      const [newKey, wrapped, oldInfo, newInfo, aad] = inputs as [Input, Input, Input, Input, Input];
      const plaintext = wrapper.unwrap(key, keyNumber, wrapped, oldInfo, aad);
      if (typeof plaintext === 'number') return plaintext;
      const made = wrapper.wrap(newKey, 0, plaintext, newInfo, aad);
      plaintext.fill(0);
      return listOf(made);
    }
    const [size, , info, aad] = inputs as [Input, Input, Input, Input];
    const bytes = readWordInput(size) ?? 0;
    if (!dataKeyBytes.includes(bytes)) return badInput;
    const dataKey = fresh(bytes);
    const wrapped = wrapper.wrap(key, keyNumber, dataKey, info, aad);
    if (typeof wrapped === 'number') return wrapped;
    if (outputs.length === 2) return [wrapped, dataKey];
    dataKey.fill(0);
    return [wrapped];
  }

  function wrapperOf(root: KeyObject, scheme: SealingScheme): Wrapper | undefined {
    const aead = aeadOf(scheme);
    if (aead !== undefined) return aeadWrapper(root, aead);
    const kem = kemOf(scheme);
    if (kem !== undefined) return kemWrapper(root, kem);
    return scheme === schemes['aes-256-kwp'] ? paddedWrapper(root) : undefined;
  }

  function aeadWrapper(root: KeyObject, aead: AeadScheme): Wrapper {
    const keyFor = (key: Input, keyNumber: number, info: Input) => {
      const secret = secretOf(root, { key, keyNumber }, aead.keyType);
      return secret && wrapKeyOf(secret, info);
    };
    return {
      wrap(reference, keyNumber, plaintext, info, aad) {
        if (plaintext.length > maxPlaintextBytes) return badInput;
        const key = keyFor(reference, keyNumber, info);
        return key === undefined ? keyUnusable : Buffer.concat(encrypt(aead, key, plaintext, aad));
      },
      unwrap(reference, keyNumber, wrapped, info, aad) {
        const key = keyFor(reference, keyNumber, info);
        if (key === undefined) return keyUnusable;
        const nonce = wrapped.subarray(0, aead.nonceBytes);
        return decrypt(aead, key, nonce, wrapped.subarray(aead.nonceBytes), aad);
      },
    };
  }

  function kemWrapper(root: KeyObject, kem: KemScheme): Wrapper {
    return {
      wrap(publicKey, _keyNumber, plaintext, info, aad) {
        if (plaintext.length > maxPlaintextBytes) return badInput;
        const made = kem.encapsulate(publicKey);
        if (made === undefined) return keyUnusable;
        const { key, nonce } = keyAndNonce(kem, made.shared, info);
        return Buffer.concat([made.enc, sealAead(hpkeAead, key, nonce, plaintext, aad)]);
      },
      unwrap(reference, keyNumber, wrapped, info, aad) {
        const own = secretOf(root, { key: reference, keyNumber }, kem.keyType);
        if (own === undefined) return keyUnusable;
        if (wrapped.length < kem.encBytes) return rejected;
        const shared = kem.decapsulate(own, wrapped.subarray(0, kem.encBytes));
        if (shared === undefined) return rejected;
        const { key, nonce } = keyAndNonce(kem, shared, info);
        return decrypt(hpkeAead, key, nonce, wrapped.subarray(kem.encBytes), aad);
      },
    };
  }

  function paddedWrapper(root: KeyObject): Wrapper {
    const keyOf = (key: Input, keyNumber: number) =>
      secretOf(root, { key, keyNumber }, keyTypes['aes-256-kwp']);
    return {
      wrap(reference, keyNumber, plaintext, _info, aad) {
        if (aad.length > 0 || plaintext.length > maxPlaintextBytes) return badInput;
        const key = keyOf(reference, keyNumber);
        return key === undefined ? keyUnusable : (wrapPadded(key, plaintext) ?? badInput);
      },
      unwrap(reference, keyNumber, wrapped, _info, aad) {
        const key = keyOf(reference, keyNumber);
        if (key === undefined) return keyUnusable;
        if (aad.length > 0) return badInput;
        return wrapped.length > maxPaddedBytes ? rejected : (unwrapPadded(key, wrapped) ?? rejected);
      },
    };
  }

  function derive(root: KeyObject, item: SealingItem): Made {
    const [label, type, tenant, aad] = item.inputs as [Input, Input, Input, Input];
    const keyType = readWordInput(type) ?? 0;
    if (item.scheme !== schemes['hkdf-sha256'] || !isKeyType(keyType)) return badInput;
    const bytes = uniformBytesOf(keyType);
    if (bytes === undefined) return badInput;
    const key = secretOf(root, item, keyTypes['hkdf-sha256']);
    if (key === undefined) return keyUnusable;
    const secret = Buffer.from(hkdfSync('sha256', key, '', label, bytes));
    return sealNew(root, keyType, secret, tenant, aad);
  }

  function importWrapped(root: KeyObject, item: SealingItem): Made {
    const [material, type, tenant, aad, info] = item.inputs as [Input, Input, Input, Input, Input];
    const keyType = readWordInput(type) ?? 0;
    const byRsa = item.scheme === schemes['rsa-oaep-sha256-kwp'];
    const kem = kemOf(item.scheme);
    if (!(byRsa || kem !== undefined) || !isKeyType(keyType)) return badInput;
    const secret = byRsa
      ? openByRsa(root, item, material)
      : kemWrapper(root, kem as KemScheme).unwrap(item.key, item.keyNumber, material, info, noBytes);
    return typeof secret === 'number' ? secret : sealBrought(root, keyType, secret, tenant, aad);
  }

  /** In the form of keys that are made here. Wipes `material`. */
  function sealBrought(root: KeyObject, keyType: KeyType, material: Buffer, tenant: Input, aad: Input): Made {
    try {
      const key = importSecret(keyType, secretIn(keyType, material));
      if (key === undefined || !isSound(key, material)) return badInput;
      return sealNew(root, keyType, exportSecret(keyType, key), tenant, aad);
    } finally {
      material.fill(0);
    }
  }

  function openByRsa(root: KeyObject, item: SealingItem, material: Input): Buffer | BatchStatus {
    const opened = open(root, item);
    if (opened === undefined || !rsaKeyTypes.has(opened.keyType)) return keyUnusable;
    if (material.length > maxMaterialBytes) return rejected;
    return unwrapRsaAes(single(opened.key), material) ?? rejected;
  }

  /** Wipes `secret`. */
  function sealNew(root: KeyObject, keyType: KeyType, secret: Buffer, tenant: Input, aad: Input): Made {
    try {
      const key = importSecret(keyType, secret);
      if (key === undefined) return badInput;
      return [sealer.seal(root, keyType, tenant, aad, secret), publicBytesOf(keyType, key)];
    } finally {
      secret.fill(0);
    }
  }

  function secretOf(
    root: KeyObject,
    reference: Pick<SealingItem, 'key' | 'keyNumber'>,
    keyType: KeyType,
  ): KeyObject | undefined {
    const opened = open(root, reference);
    return opened?.keyType === keyType ? single(opened.key) : undefined;
  }

  function fresh(bytes: number): Buffer {
    const made = Buffer.allocUnsafeSlow(bytes);
    draw(made);
    return made;
  }
}

const rsaKeyTypes: ReadonlySet<KeyType> = new Set([
  keyTypes['rsa-2048'],
  keyTypes['rsa-3072'],
  keyTypes['rsa-4096'],
]);
const noBytes = new Uint8Array(0);
const tagBytes = 16;
/** Of every AEAD here. */
const keyBytes = 32;
/** Of the longest plaintext. */
const maxPaddedBytes = maxPlaintextBytes + 8;
/** PKCS#8 of RSA-4096 under RSA-4096 has 2,900 bytes. */
const maxMaterialBytes = 4096;

const inputsOf: Readonly<Record<number, number>> = {
  [batchOps.encrypt]: 2,
  [batchOps.decrypt]: 3,
  [batchOps.wrap]: 3,
  [batchOps.unwrap]: 3,
  [batchOps.dataKey]: 4,
  [batchOps.rewrap]: 5,
  [batchOps.reencrypt]: 4,
  [batchOps.derive]: 4,
  [batchOps.importWrapped]: 5,
  [batchOps.encryptUnder]: 5,
  [batchOps.decryptUnder]: 6,
};

function decrypt(
  aead: AeadScheme,
  key: KeyObject,
  nonce: Input,
  ciphertext: Input,
  aad: Input,
): Buffer | BatchStatus {
  if (ciphertext.length > maxPlaintextBytes + tagBytes) return rejected;
  return openAead(aead, key, nonce, ciphertext, aad) ?? rejected;
}

/** Wipes `shared`. */
function keyAndNonce(kem: KemScheme, shared: Buffer, info: Input) {
  const { key, nonce } = keySchedule(kem.hpkeId, shared, info);
  shared.fill(0);
  return { key: secretKeyOf(key), nonce };
}

function aeadOf(scheme: SealingScheme): AeadScheme | undefined {
  return (aeadSchemes as Readonly<Partial<Record<number, AeadScheme>>>)[scheme];
}

function kemOf(scheme: SealingScheme): KemScheme | undefined {
  return (kemSchemes as Readonly<Partial<Record<number, KemScheme>>>)[scheme];
}

function listOf(made: Buffer | BatchStatus): Made {
  return typeof made === 'number' ? made : [made];
}

function roomOf({ outputs }: Pick<SealingItem, 'outputs'>, index: number): number {
  return outputs[index]?.length ?? 0;
}

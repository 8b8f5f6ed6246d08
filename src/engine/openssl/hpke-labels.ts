import { createHmac } from 'node:crypto';

const version = Buffer.from('HPKE-v1');
const empty = Buffer.alloc(0);

/** LabeledExtract of RFC 9180 4, by HKDF-SHA256; the caller wipes the result. */
export function labeledExtract(suite: Uint8Array, salt: Uint8Array, label: string, ikm: Uint8Array): Buffer {
  return createHmac('sha256', salt).update(version).update(suite).update(label).update(ikm).digest();
}

/** LabeledExpand of RFC 9180 4, of at most 32 bytes: one block of HKDF-Expand. The caller wipes the result. */
export function labeledExpand(
  suite: Uint8Array,
  prk: Uint8Array,
  label: string,
  info: Uint8Array,
  bytes: number,
): Buffer {
  const hmac = createHmac('sha256', prk)
    .update(Buffer.from([0, bytes]))
    .update(version);
  const block = hmac
    .update(suite)
    .update(label)
    .update(info)
    .update(Buffer.from([1]))
    .digest();
  block.fill(0, bytes);
  return block.subarray(0, bytes);
}

/** Of HPKE's registry. */
const aes256Gcm = { id: 2, keyBytes: 32 };

/** RFC 9180 5.1, base mode with HKDF-SHA256: key and nonce of the only message; the caller wipes both. */
export function keySchedule(
  hpkeId: number,
  shared: Uint8Array,
  info: Uint8Array,
  aead = aes256Gcm,
): { readonly key: Buffer; readonly nonce: Buffer } {
  const suite = Buffer.from([...Buffer.from('HPKE'), hpkeId >> 8, hpkeId & 0xff, 0, 1, 0, aead.id]);
  const context = Buffer.concat([
    Buffer.from([0]),
    labeledExtract(suite, empty, 'psk_id_hash', empty),
    labeledExtract(suite, empty, 'info_hash', info),
  ]);
  const secret = labeledExtract(suite, shared, 'secret', empty);
  try {
    return {
      key: labeledExpand(suite, secret, 'key', context, aead.keyBytes),
      nonce: labeledExpand(suite, secret, 'base_nonce', context, 12),
    };
  } finally {
    secret.fill(0);
  }
}

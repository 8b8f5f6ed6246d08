import { randomBytes } from 'node:crypto';
import type { MacKey } from '../../core/mac-key.ts';

/**
 * The id of a caveat that asks for a second principal: `idc1` | u32be root key | the 8 bytes of the first one's actor | 16
 * random bytes. Its discharge key is HMAC-SHA-256(HKDF-Expand(root key, info, 32), id), so that only the service makes
 * discharges, and keeps nothing for them.
 */
export interface DualControl {
  readonly rootKeyId: number;
  /** Of the capability that has the caveat. */
  readonly actor: string;
}

const magic = Buffer.from('idc1');
const idBytes = 32;
const info = 'intaglio/macaroon/dual-control/v1';

/** The place that discharges it: POST /token/discharge of the service itself. */
export const dualControlLocation = 'intaglio';

export function dualControlId({ rootKeyId, actor }: DualControl): Uint8Array {
  const head = Buffer.alloc(8);
  magic.copy(head);
  head.writeUInt32BE(rootKeyId, 4);
  return Buffer.concat([head, Buffer.from(actor.slice('cap:'.length), 'hex'), randomBytes(16)]);
}

/** Undefined: the caveat is of somebody else. */
export function readDualControlId(id: Uint8Array): DualControl | undefined {
  const bytes = Buffer.from(id);
  if (bytes.length !== idBytes || !bytes.subarray(0, magic.length).equals(magic)) return undefined;
  return { rootKeyId: bytes.readUInt32BE(4), actor: `cap:${bytes.toString('hex', 8, 16)}` };
}

/** 32 bytes; the caller wipes them. */
export function dischargeKey(rootKey: MacKey, id: Uint8Array): Uint8Array {
  return rootKey.expand(info).mac(id);
}

import { randomBytes, timingSafeEqual } from 'node:crypto';
import type { MacKey } from '../../core/mac-key.ts';
import { isName } from '../../core/name.ts';
import type { AgreedChange, AgreementReader } from '../approvals.ts';
import { parseUtc } from '../utc.ts';
import { parseCaveat } from './caveats.ts';
import { decodeDischarge, encodeBinary, type PresentedMacaroon } from './encoding.ts';
import { macaroonKeyOf, signatureOf } from './key.ts';
import type { Revocations } from './revocations.ts';
import type { RootKeys } from './root-keys.ts';

/**
 * The id of an approval: `ida1` | u32be root key | 24 random bytes. An approval is a discharge without a capability that asks
 * for it, so it goes to whoever makes the change, as it is. Its key is HMAC-SHA-256(HKDF-Expand(root key, info, 32), id).
 */
const magic = Buffer.from('ida1');
const idBytes = 32;
const info = 'intaglio/macaroon/approval/v1';

export function approvalId(rootKeyId: number): Uint8Array {
  const head = Buffer.alloc(8);
  magic.copy(head);
  head.writeUInt32BE(rootKeyId, 4);
  return Buffer.concat([head, randomBytes(idBytes - head.length)]);
}

function rootKeyIdIn(id: Uint8Array): number | undefined {
  const bytes = Buffer.from(id);
  const ours = bytes.length === idBytes && bytes.subarray(0, magic.length).equals(magic);
  return ours ? bytes.readUInt32BE(4) : undefined;
}

/** 32 bytes; the caller wipes them. */
export function approvalKey(rootKey: MacKey, id: Uint8Array): Uint8Array {
  return rootKey.expand(info).mac(id);
}

/** Reads the approvals that `POST /token/discharge` makes. */
export function createDischargeReader(rootKeys: RootKeys, revocations: Revocations): AgreementReader {
  return async (text) => {
    const presented = decodeDischarge(text);
    const rootKeyId = presented === undefined ? undefined : rootKeyIdIn(presented.identifier);
    const rootKey = rootKeyId === undefined ? undefined : rootKeys.get(rootKeyId);
    if (presented === undefined || rootKeyId === undefined || rootKey === undefined) return undefined;
    const key = approvalKey(rootKey, presented.identifier);
    const genuine = isSignedWith(key, presented);
    key.fill(0);
    const said = genuine ? changeIn(presented) : undefined;
    if (said === undefined) return undefined;
    // When the approver's capability was issued, an approval does not say.
    const issuedAtMs = Number.POSITIVE_INFINITY;
    const standing = { tenant: said.tenant, actor: said.approver, rootKeyId, issuedAtMs };
    return revocations.revokes(standing) ? undefined : said;
  };
}

function isSignedWith(key: Uint8Array, { identifier, caveats, binary }: PresentedMacaroon): boolean {
  if (!caveats.every((caveat) => typeof caveat === 'string')) return false;
  const expected = encodeBinary(identifier, caveats, signatureOf(macaroonKeyOf(key), identifier, caveats));
  return expected.length === binary.length && timingSafeEqual(expected, binary);
}

const names = ['tenant', 'operation', 'kid', 'request_sha256', 'approver', 'expires'];

/** Exactly the caveats that an approval is made with, once each: whoever holds one could add others, which nobody would look at. */
function changeIn({ identifier, caveats }: PresentedMacaroon): AgreedChange | undefined {
  const found: Record<string, string> = {};
  for (const caveat of caveats as readonly string[]) {
    const [name = '', value = ''] = caveat.split(' = ', 2);
    if (!names.includes(name) || Object.hasOwn(found, name) || parseCaveat(caveat) === undefined)
      return undefined;
    found[name] = value;
  }
  const { tenant, operation, approver, expires = '', kid, request_sha256: requestSha256 } = found;
  const expiresAtMs = parseUtc(expires);
  if (tenant === undefined || !isName(tenant) || operation === undefined) return undefined;
  if (approver === undefined || expiresAtMs === undefined) return undefined;
  return {
    ...{ id: Buffer.from(identifier).toString('hex'), tenant, operation, approver, expiresAtMs },
    ...{ keyId: kid, requestSha256 },
  };
}

import { timingSafeEqual } from 'node:crypto';
import library from 'macaroon';
import nacl from 'tweetnacl';
import { softwareMacKey } from '../../core/mac-key.ts';
import {
  decodeDischarge,
  encodeBinary,
  encodeToken,
  type PresentedMacaroon,
  type ThirdPartyCaveat,
} from './encoding.ts';
import type { Source } from './grant.ts';
import { pairMac, signatureOf } from './key.ts';

/** In X-KMS-Discharge. Each is some 300 characters and a few HMACs, and one more principal to ask. */
const maxDischarges = 4;

/** A third-party caveat and the key of its discharges. */
export interface Pending {
  readonly caveat: ThirdPartyCaveat;
  readonly key: Uint8Array;
}

const nonceBytes = nacl.secretbox.nonceLength;

/** libmacaroons: XSalsa20-Poly1305 under the signature before the caveat. Undefined where it was encrypted under another. */
export function openVerificationId(caveat: ThirdPartyCaveat, signature: Uint8Array): Pending | undefined {
  const { vid } = caveat;
  const key = nacl.secretbox.open(vid.subarray(nonceBytes), vid.subarray(0, nonceBytes), signature);
  return key === null ? undefined : { caveat, key };
}

/** The discharges of a header: at most four, or undefined where it is not of its form. */
export function parseDischarges(header: string): readonly PresentedMacaroon[] | undefined {
  const texts = header.split(',', maxDischarges + 1).map((text) => text.trim());
  if (texts.length > maxDischarges) return undefined;
  const discharges = texts.map(decodeDischarge);
  return discharges.every((discharge) => discharge !== undefined) ? discharges : undefined;
}

/**
 * The sources of these discharges if they discharge all of `pending`, each used once and none left over; their caveats count like the capability's own.
 * A discharge may have third-party caveats in turn.
 */
export function discharged(
  signature: Uint8Array,
  pending: readonly Pending[],
  discharges: readonly PresentedMacaroon[],
): readonly Source[] | undefined {
  const unused = new Map(discharges.map((one) => [idText(one.identifier), one]));
  if (unused.size !== discharges.length) return undefined;
  const open: (Pending | undefined)[] = [...pending];
  const used: Source[] = [];
  for (let next = open.shift(); next !== undefined; next = open.shift()) {
    const name = idText(next.caveat.id);
    const discharge = unused.get(name);
    if (discharge === undefined) return undefined;
    unused.delete(name);
    const { identifier, caveats, binary } = discharge;
    const own = signatureOf(softwareMacKey(next.key), identifier, caveats, (caveat, before) =>
      open.push(openVerificationId(caveat, before)),
    );
    if (open.includes(undefined)) return undefined;
    const expected = encodeBinary(identifier, caveats, bound(signature, own));
    if (expected.length !== binary.length || !timingSafeEqual(expected, binary)) return undefined;
    used.push(discharge);
  }
  return unused.size === 0 ? used : undefined;
}

function idText(id: Uint8Array): string {
  return Buffer.from(id).toString('latin1');
}

const zeroKey = softwareMacKey(new Uint8Array(32));

/** libmacaroons binds a discharge to the signature of the capability that it goes with. */
function bound(signature: Uint8Array, own: Uint8Array): Uint8Array {
  return pairMac(zeroKey, signature, own);
}

/** A new discharge. The holder of the capability has to bind it. */
export function makeDischarge(caveatKey: Uint8Array, id: Uint8Array, caveats: readonly string[]): string {
  const macaroon = library.newMacaroon({ identifier: id, rootKey: caveatKey, version: 2 });
  for (const caveat of caveats) macaroon.addFirstPartyCaveat(caveat);
  return encodeToken(macaroon, caveats);
}

/** The discharge as it goes with this capability in X-KMS-Discharge. */
export function bindDischarge(token: PresentedMacaroon, discharge: PresentedMacaroon): string {
  const { identifier, caveats, macaroon } = discharge;
  macaroon.bindToRoot(token.signature);
  return encodeToken({ identifier, signature: macaroon.signature }, caveats);
}

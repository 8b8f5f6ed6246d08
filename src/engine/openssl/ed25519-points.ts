/**
 * True if 32 bytes are a form that RFC 8032, section 5.1.3, decodes: y below p = 2^255 - 19, and no sign on x = 0 (which y = 1
 * and y = p - 1 have). OpenSSL's decoder takes the other forms as well, AWS-LC's does not; a signature must not be good in one
 * engine and bad in the other. Points of small order, as public key or as R, are refused by node:crypto itself
 * (nodejs/node#64026).
 */
export function isCanonicalPoint(bytes: Uint8Array): boolean {
  const first = bytes[0] as number;
  const last = bytes[31] as number;
  const middle = bytes[1];
  if (middle !== 0 && middle !== 0xff) return true;
  for (let index = 2; index < 31; index++) if (bytes[index] !== middle) return true;
  const negative = last >= 0x80;
  if (middle === 0) return !(negative && last === 0x80 && first === 1);
  if ((last & 0x7f) !== 0x7f) return true;
  return first < 0xec || (first === 0xec && !negative);
}

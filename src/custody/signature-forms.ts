/** Forms of signatures and of what is signed, for backends whose own operations begin at the numbers. */

const der = (hex: string) => Buffer.from(hex, 'hex');

/** DER of DigestInfo before the digest (RFC 8017, section 9.2, note 1). */
export const digestInfo = {
  sha256: der('3031300d060960864801650304020105000420'),
  sha384: der('3041300d060960864801650304020205000430'),
  sha512: der('3051300d060960864801650304020305000440'),
} as const;

/** r || s as DER: SEQUENCE of two INTEGERs (RFC 3279). */
export function derOf(signature: Buffer): Uint8Array {
  const half = signature.length / 2;
  const numbers = [signature.subarray(0, half), signature.subarray(half)].map(integerOf);
  const body = Buffer.concat(numbers);
  // Two integers of at most 51 bytes stay under the 128 from which lengths take another form.
  return Buffer.concat([Buffer.of(0x30, body.length), body]);
}

function integerOf(bytes: Buffer): Buffer {
  let first = 0;
  while (first < bytes.length - 1 && bytes[first] === 0) first++;
  const digits = bytes.subarray(first);
  const sign = (digits[0] as number) >= 0x80 ? [0] : [];
  return Buffer.concat([Buffer.of(0x02, digits.length + sign.length, ...sign), digits]);
}

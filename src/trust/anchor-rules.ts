import { type Refused, refuse } from '../core/result.ts';
import type { AnchorType, RevocationFacts } from './anchor-records.ts';
import type { Certificate } from './certificate.ts';
import { isListOf, type RevocationList } from './crl.ts';

/** Bits; NIST SP 800-131A refuses less. */
const minRsaBits = 2048;
/** OpenSSL verifies one of them in a millisecond, and a longer one in many. */
const maxRsaBits = 16_384;
/** DER. A root of ML-DSA-87 with names has 9 KiB; with 50,000 of them a tenant fills 1.1 GB at most. */
const maxAnchorBytes = 16 * 1024;

/** The reason why a certificate is no anchor of this type. */
export function refusalOfAnchor(
  certificate: Certificate,
  type: AnchorType,
  nowMs: number,
): Refused | undefined {
  const { basic, keyUsage, notBeforeMs, notAfterMs, selfIssued, library, unknownCritical } = certificate;
  if (certificate.der.length > maxAnchorBytes)
    return refuse('TooLarge', `the certificate of a trust anchor has at most ${maxAnchorBytes} bytes`);
  if (nowMs > notAfterMs) return refuse('BadRequest', 'the certificate has expired');
  if (nowMs < notBeforeMs) return refuse('BadRequest', 'the certificate is not valid yet');
  if (basic?.ca !== true || keyUsage?.keyCertSign === false)
    return refuse('BadRequest', 'the certificate is not that of an authority');
  if (unknownCritical.length > 0 || certificate.duplicateExtension)
    return refuse('BadRequest', 'the certificate has an extension that cannot be honoured');
  if (type === 'root' && !selfIssued)
    return refuse('BadRequest', 'the certificate of a root is signed by itself');
  const { modulusLength = minRsaBits } = library.publicKey.asymmetricKeyDetails ?? {};
  if (modulusLength < minRsaBits || modulusLength > maxRsaBits)
    return refuse('BadRequest', `an RSA key has ${minRsaBits} to ${maxRsaBits} bits`);
  if (selfIssued && !signsItself(certificate))
    return refuse('BadRequest', 'the signature of the certificate is not valid');
  return undefined;
}

function signsItself({ library }: Certificate): boolean {
  try {
    return library.verify(library.publicKey);
  } catch {
    return false;
  }
}

const notOlder = refuse('Conflict', 'a revocation list that is as new is there already');

/** The reason why a list does not follow the one before it. */
export function refusalOfList(
  list: RevocationList,
  authority: Certificate,
  before: RevocationFacts | undefined,
  nowMs: number,
): Refused | undefined {
  if (!isListOf(list, authority))
    return refuse('BadRequest', 'the revocation list is not signed by this authority');
  if (nowMs < list.thisUpdateMs || nowMs > list.nextUpdateMs)
    return refuse('BadRequest', 'the revocation list is not in force now');
  if (before === undefined) return undefined;
  // Whoever replays an older list brings back what was revoked since.
  const { number } = before;
  if (number !== undefined && list.number === undefined) return notOlder;
  const numbered = number !== undefined && list.number !== undefined;
  if (numbered && list.number <= BigInt(number)) return notOlder;
  const newer = numbered ? list.thisUpdateMs >= before.thisUpdateMs : list.thisUpdateMs > before.thisUpdateMs;
  return newer ? undefined : notOlder;
}

// The x509 library's container wants it; it adds to Reflect and changes nothing that is there.
import 'reflect-metadata';
import { Attributes, CertificationRequest, CertificationRequestInfo } from '@peculiar/asn1-csr';
import { AsnConvert } from '@peculiar/asn1-schema';
import { AlgorithmIdentifier, Name, SubjectPublicKeyInfo } from '@peculiar/asn1-x509';
import { Name as NameText } from '@peculiar/x509';

export interface BegunRequest {
  /** DER of CertificationRequestInfo: the bytes that are signed. */
  readonly message: Uint8Array;
  /** DER of the whole CertificationRequest. */
  finish(signature: Uint8Array): Uint8Array;
}

/** A request for this name and key (RFC 2986), without attributes. Undefined: the subject is no name, or an empty one. */
export function beginRequest(
  subject: string,
  spki: Uint8Array,
  signatureAlgorithm: string,
): BegunRequest | undefined {
  const name = nameOf(subject);
  if (name === undefined) return undefined;
  const subjectPKInfo = AsnConvert.parse(spki, SubjectPublicKeyInfo);
  const info = new CertificationRequestInfo({ subject: name, subjectPKInfo, attributes: new Attributes() });
  const algorithm =
    signatureAlgorithm === 'asKey'
      ? subjectPKInfo.algorithm
      : AsnConvert.parse(Buffer.from(signatureAlgorithm, 'hex'), AlgorithmIdentifier);
  return {
    message: new Uint8Array(AsnConvert.serialize(info)),
    finish(signature) {
      const whole = new CertificationRequest({
        certificationRequestInfo: info,
        signatureAlgorithm: algorithm,
        signature: Uint8Array.from(signature).buffer,
      });
      return new Uint8Array(AsnConvert.serialize(whole));
    },
  };
}

/** The library throws at what it cannot read. */
function nameOf(text: string): Name | undefined {
  try {
    const name = AsnConvert.parse(new NameText(text).toArrayBuffer(), Name);
    return name.length === 0 ? undefined : name;
  } catch {
    return undefined;
  }
}

/** Node's codes of X.509 verification (X509_V_ERR_*, which end a connection), and of TLS itself. */
const codes =
  /CERT|^ERR_TLS_|^ERR_SSL_|^EPROTO$|^(INVALID_CA|INVALID_PURPOSE|PATH_LENGTH_EXCEEDED|HOSTNAME_MISMATCH|UNABLE_TO_VERIFY_LEAF_SIGNATURE)$/;

export function isTlsCode(code: string): boolean {
  return codes.test(code);
}

/** OpenSSL's texts, where a library hands on no more; the code that Node has for each. */
const texts: readonly (readonly [text: RegExp, code: string])[] = [
  [/ERR_TLS_CERT_ALTNAME_INVALID/, 'ERR_TLS_CERT_ALTNAME_INVALID'],
  [/certificate has expired/, 'CERT_HAS_EXPIRED'],
  [/certificate is not yet valid/, 'CERT_NOT_YET_VALID'],
  [/self.signed certificate in certificate chain/, 'SELF_SIGNED_CERT_IN_CHAIN'],
  [/self.signed certificate/, 'DEPTH_ZERO_SELF_SIGNED_CERT'],
  [/unable to verify the first certificate/, 'UNABLE_TO_VERIFY_LEAF_SIGNATURE'],
  [/unable to get (local )?issuer certificate/, 'UNABLE_TO_GET_ISSUER_CERT_LOCALLY'],
  [/SSL routines|certificate/, 'EPROTO'],
];

/** Undefined: it is of something else. */
export function tlsCodeIn(text: string): string | undefined {
  return texts.find(([pattern]) => pattern.test(text))?.[1];
}

import { createHash, type X509Certificate } from 'node:crypto';
import type { PeerCertificate } from '../../core/peer.ts';

/** The names in a certificate that was verified. One whose names cannot be read has none. */
export function peerCertificate(certificate: X509Certificate): PeerCertificate {
  const names = alternativeNames(certificate.subjectAltName ?? '');
  const of = (kind: string) => names.filter(([found]) => found === kind).map(([, name]) => name);
  const uris = of('URI');
  const [uri = ''] = uris;
  return {
    sha256: createHash('sha256').update(certificate.raw).digest('hex'),
    subject: subjectText(certificate.subject),
    dns: of('DNS'),
    uris,
    // A document of SPIFFE has exactly one URI (X509-SVID section 2).
    spiffe: uris.length === 1 && uri.startsWith('spiffe://') ? uri : undefined,
  };
}

/** RFC 4514, the most specific name first. Node gives one name a line, in the order of the certificate, escaped as there. */
function subjectText(lines: string | undefined): string {
  return (lines ?? '').split('\n').reverse().join(',');
}

/**
 * `DNS:a.test, URI:spiffe://a/b`. Node quotes a name with anything special in it as JSON does, so that no name can hold a
 * comma that separates others (CVE-2021-44532).
 */
function alternativeNames(text: string): readonly (readonly [kind: string, name: string])[] {
  const names: [string, string][] = [];
  const entry = /([A-Za-z ]+):("(?:[^"\\]|\\.)*"|[^",]*)(?:, |$)/y;
  while (entry.lastIndex < text.length) {
    const [, kind = '', name = ''] = entry.exec(text) ?? [];
    if (kind === '') return [];
    try {
      names.push([kind, name.startsWith('"') ? (JSON.parse(name) as string) : name]);
    } catch {
      return [];
    }
  }
  return names;
}

export type ListenerKind = 'tcp' | 'tls' | 'unix';

/** The other end of a connection, as far as its listener knows it. Plain data. */
export interface Peer {
  readonly listener: ListenerKind;
  /** IPv4 in dotted form, IPv6 in that of RFC 5952 without a zone; empty for a Unix socket, and once the connection is gone. */
  readonly address: string;
  /** Undefined where it is not told: uWebSockets.js has none. */
  readonly port: number | undefined;
  /** Only of one that the listener has verified. */
  readonly certificate: PeerCertificate | undefined;
  /** Who runs the process at the other end of a Unix socket (SO_PEERCRED, unix(7)). */
  readonly user: { readonly uid: number; readonly gid: number } | undefined;
}

export interface PeerCertificate {
  /** Of the DER, 64 lowercase hexadecimal digits. */
  readonly sha256: string;
  /** RFC 4514. */
  readonly subject: string;
  readonly dnsNames: readonly string[];
  /** The one URI that is a SPIFFE id, or undefined. */
  readonly spiffeId: string | undefined;
}

/** A peer of which nothing but its address is known. */
export function peerAt(listener: ListenerKind, address: string, port?: number): Peer {
  return { listener, address, port, certificate: undefined, user: undefined };
}

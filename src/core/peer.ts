export type ListenerKind = 'tcp' | 'tls' | 'unix';

/** The other end of a connection, as far as its listener knows it. Plain data. */
export interface Peer {
  readonly listener: ListenerKind;
  /** IPv4 in dotted form, IPv6 in that of RFC 5952 without a zone; undefined for a Unix socket, and once the connection is gone. */
  readonly address: string | undefined;
  /** Undefined where it is not told: uWebSockets.js has none. */
  readonly port: number | undefined;
  /** Only of one that the listener has verified. */
  readonly certificate: PeerCertificate | undefined;
  /** Of the process at the other end of a Unix socket (SO_PEERCRED, unix(7)). */
  readonly uid: number | undefined;
  readonly gid: number | undefined;
}

export interface PeerCertificate {
  /** SHA-256 of the DER, 64 lowercase hexadecimal digits (RFC 8705). */
  readonly sha256: string;
  readonly subject: string;
  readonly dns: readonly string[];
  /** All of them, whatever their scheme. */
  readonly uris: readonly string[];
  /** The URI name with the scheme spiffe, where there is exactly one. */
  readonly spiffe: string | undefined;
}

/** A peer of which nothing but its address is known. */
export function peerAt(listener: ListenerKind, address?: string, port?: number): Peer {
  return { listener, address, port, certificate: undefined, uid: undefined, gid: undefined };
}

import type { ListenAddress } from '../../config/listen-kinds.ts';
import type { Config } from '../../config/load.ts';
import type { Prepared, Reloadable } from '../../config/reload.ts';
import { setupCommand } from '../../core/own-package.ts';
import type { Peer } from '../../core/peer.ts';
import { requireFreePort } from '../../core/sockets/listen-on.ts';
import { requireFreeSocket } from '../../core/sockets/unix-socket.ts';
import { StartError } from '../../core/start-error.ts';
import type { Health } from '../../observe/health.ts';
import type { Logger } from '../../observe/log.ts';
import type { Metrics } from '../../observe/metrics.ts';
import { registerTlsMetrics } from '../../observe/series/tls-metrics.ts';
import { tellOfSocket } from '../../observe/socket-lines.ts';
import type { ConnectionCount } from '../connections.ts';
import type { Listener } from '../exchange.ts';
import { Listeners } from '../listeners.ts';
import { Certificates } from './certificates.ts';
import { NodeListener } from './node.ts';
import { tlsListener } from './tls.ts';
import { UnixListener } from './unix.ts';
import type { UwsOptions } from './uws.ts';

export interface ListenerParts {
  readonly log: Logger;
  readonly health: Health;
  readonly metrics: Metrics;
  readonly connections: ConnectionCount;
}

export interface ConfiguredListeners {
  readonly listeners: Listeners;
  /** The certificate, which a reload reads again; none where no listener has one. */
  readonly reloadable: readonly Reloadable[];
}

/** From the first to the last byte of a request's body. */
const bodyTimeoutMs = 5_000;

/** Certificates are usually renewed a month before they expire. */
const expiryWarningMs = 14 * 86_400_000;

/** A refused user may try again a thousand times a second. */
const refusedLineMs = 1_000;

/** The listeners of KMS_LISTEN. Throws a StartError where one cannot be. */
export async function configuredListeners(
  config: Config,
  parts: ListenerParts,
): Promise<ConfiguredListeners> {
  const plain = config.listen.some(({ scheme }) => scheme === 'http')
    ? await plainListener(parts.log)
    : undefined;
  const tls = openTls(config, parts);
  const listeners = config.listen.map((address) => listenerAt(address, config, parts, { tls, plain }));
  const sockets = listeners.filter((each) => each instanceof UnixListener);
  if (sockets.length > 0)
    parts.health.condition('unix_socket', 'wanted', () => sockets.every(({ reachable }) => reachable));
  return {
    listeners: new Listeners(listeners, () => tls?.certificates.stopWatching()),
    reloadable: tls === undefined ? [] : [tls],
  };
}

/** Throws a StartError where one of KMS_LISTEN cannot be, and makes nothing: opening it is what counts. */
export async function requireListeners(config: Config): Promise<void> {
  const rule = { groupAllowed: config.groupReadableSecrets };
  if (config.tlsCertFile !== 'none') new Certificates(certificateFilesOf(config), rule);
  for (const address of config.listen)
    if (address.scheme === 'unix') await requireFreeSocket(address.path, rule);
    else await requireFreePort(address.host, address.port);
}

function listenerAt(
  address: ListenAddress,
  config: Config,
  { log, connections }: ListenerParts,
  { tls, plain }: { readonly tls: Tls | undefined; readonly plain: MakePlainListener | undefined },
): Listener {
  const common = { maxBodyBytes: config.maxPayloadBytes, bodyTimeoutMs, connections };
  const onConnection = (peer: Peer) => log.debug({ peer }, 'a connection');
  if (address.scheme === 'http') {
    if (plain === undefined) throw new StartError('no listener was made for plain HTTP');
    return plain({ ...common, host: address.host, port: address.port });
  }
  if (address.scheme === 'https') {
    if (tls === undefined) throw new StartError('an https listener needs a certificate');
    const { host, port, client } = address;
    return tlsListener({ ...common, ...tls, at: { host, port }, client, onConnection });
  }
  const { path, mode } = address;
  const refused = (peer: Peer) =>
    log.warn({ peer, path }, 'a user who is not in KMS_UNIX_ALLOWED_UIDS was refused');
  return new UnixListener({
    ...{ ...common, path, mode, onConnection, onRefused: seldom(refused) },
    ...{ allowedUids: config.unixAllowedUids, groupAllowed: config.groupReadableSecrets },
    onSocketChange: tellOfSocket(log, path),
  });
}

type MakePlainListener = (options: UwsOptions) => Listener;

/**
 * uWebSockets.js is a library for some versions of Node, and for glibc 2.38, which the set-up puts right for 2.36. Anywhere else
 * plain HTTP is served as TLS is.
 */
async function plainListener(
  log: Logger,
  load: () => Promise<{ UwsListener: new (options: UwsOptions) => Listener }> = () => import('./uws.ts'),
): Promise<MakePlainListener> {
  try {
    const { UwsListener } = await load();
    return (options) => new UwsListener(options);
  } catch (cause) {
    log.warn(
      { err: cause },
      `uWebSockets.js DOES NOT LOAD HERE: serving HTTP with node:http, with less throughput. \`${setupCommand}\` may help.`,
    );
    return ({ host, port, ...options }) => new NodeListener({ ...options, kind: 'tcp', at: { host, port } });
  }
}

interface Tls extends Reloadable {
  readonly certificates: Certificates;
  readonly onHandshakeFailure: () => void;
}

function openTls(config: Config, { log, health, metrics }: ListenerParts): Tls | undefined {
  if (config.tlsCertFile === 'none') return undefined;
  const rule = { groupAllowed: config.groupReadableSecrets };
  const certificates = new Certificates(certificateFilesOf(config), rule);
  health.condition(
    'certificate_expiry',
    'wanted',
    () => certificates.notAfterMs - Date.now() > expiryWarningMs,
  );
  const tell = () =>
    log.info(
      { not_after: new Date(certificates.notAfterMs) },
      'the certificate of the https listeners is in use',
    );
  const reload = () => {
    try {
      certificates.reload();
      tell();
    } catch (cause) {
      log.error({ err: cause }, 'the new certificate is NOT TAKEN, the one before stays in use');
    }
  };
  tell();
  certificates.watch(reload);
  const prepare = (): Prepared => {
    try {
      const { fingerprint, take } = certificates.prepare();
      return {
        commit() {
          take();
          tell();
        },
        ...(fingerprint === certificates.fingerprint
          ? undefined
          : { contents: { certificate: fingerprint } }),
      };
    } catch (cause) {
      return { problems: [(cause as Error).message] };
    }
  };
  const onHandshakeFailure = registerTlsMetrics(metrics, () => certificates.notAfterMs);
  return { certificates, prepare, onHandshakeFailure };
}

function certificateFilesOf({ tlsCertFile: certFile, tlsKeyFile: keyFile, tlsClientCaFile }: Config) {
  return { certFile, keyFile, clientCaFile: tlsClientCaFile === 'none' ? undefined : tlsClientCaFile };
}

function seldom<T>(tell: (of: T) => void): (of: T) => void {
  let nextMs = Number.NEGATIVE_INFINITY;
  return (of) => {
    const nowMs = performance.now();
    if (nowMs < nextMs) return;
    nextMs = nowMs + refusedLineMs;
    tell(of);
  };
}

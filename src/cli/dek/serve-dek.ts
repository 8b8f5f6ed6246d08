import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { Command } from 'commander';
import type { Authenticator } from '../../auth/auth.ts';
import { peerUserAuthenticator } from '../../auth/peer-users.ts';
import type { Config, LoadedConfig } from '../../config/load.ts';
import { refuseInspection } from '../../core/process/inspection.ts';
import type { Result } from '../../core/result.ts';
import type { Caller } from '../../core/scope.ts';
import { requireFreeSocket } from '../../core/sockets/unix-socket.ts';
import { StartError } from '../../core/start-error.ts';
import { givenRootKey } from '../../custody/root-key/given.ts';
import { dekDialect } from '../../http/dialects/dek/index.ts';
import { createLog, type Logger, setLogging } from '../../observe/log.ts';
import type { DekOperations } from '../../operations/deks/operations.ts';
import type { Service } from '../../service.ts';
import { fail } from '../fail.ts';
import { serveUntilStopped } from '../serve/notify.ts';
import { reloadOnSignal } from '../serve/reload-on-signal.ts';
import { processSettings, secretRule } from '../settings.ts';
import { type DekConfigFile, everyRole, readDekConfig } from './config-file.ts';

export interface ServeDekFlags {
  readonly socket: string;
  readonly dataDir: string;
  readonly config?: string;
  readonly kmsV2Socket?: string;
}

/** Settings of the environment that `--config` has in their place. */
const ofConfig = ['ROOT_KEY_FILE', 'ROOT_KEY_FD', 'UNIX_ALLOWED_UIDS', 'DEK_ALLOW_PLAIN_KEK'];

/** `serve-dek`: data encryption keys alone, over a Unix socket. */
export function serveDekCommand(): Command {
  return new Command('serve-dek')
    .description('serve data encryption keys over a Unix socket until SIGTERM or SIGINT; docs/dek.md')
    .requiredOption('--socket <path>', 'the Unix socket; its directory is made with mode 0700')
    .requiredOption('--data-dir <dir>', 'kms.db, the logs and kms-deks-backup/')
    .option('--config <file>', 'YAML, mode 0600: master_key_hex or master_key_file, allowed_uids')
    .option('--kms-v2-socket <path>', 'the KMS v2 plugin of Kubernetes (gRPC), on a socket of its own')
    .addHelpText(
      'after',
      `
With --config the master key and the allowed users come from that file alone, and nothing of these is read from the environment.
Without it the root key is <data-dir>/root.key, made at the first start. All other settings are those of serve.

Example:
  intaglio serve-dek --socket /run/intaglio/dek.sock --data-dir /var/lib/intaglio/dek --config /etc/intaglio/dek.yaml`,
    )
    .action(serveDek);
}

async function serveDek(flags: ServeDekFlags): Promise<void> {
  const rule = secretRule();
  try {
    checkSocketPaths(flags);
    const file = flags.config === undefined ? undefined : readDekConfig(flags.config, rule);
    const ways = flagsOf(flags, file?.allowPlainKek ?? false);
    const config = settingsOf(ways);
    const users = new LiveUsers(config.dekTenant, file);
    const takesReloads = reloadOnSignal(() => readAgain(flags, ways, users));
    const log = createLog(config.logLevel, config.telemetryService);
    setLogging(log, config);
    if (config.engine === 'openssl')
      log.warn('keys of the OpenSSL engine lie in memory that can be swapped: build the native engine');
    // The start does it as well; so early a refusal costs next to nothing.
    if (!config.allowCoreDumps) refuseInspection();
    const { start, stopOnSignals } = await import('../../main.ts');
    const sideDoor = await kmsV2Door(flags, users, log, config);
    const server = await start(config, log, {
      ...(file === undefined ? undefined : { rootKey: [givenRootKey(file.place, file.masterKey)] }),
      surfaces: (service) => () => [dekDialect(service.dekOperations as DekOperations)],
      authenticator: users,
      ...(sideDoor === undefined ? undefined : { sideDoor }),
    });
    file?.masterKey.fill(0);
    const [url] = server.urls;
    log.info({ url, engine: server.engine.name, pid: process.pid }, 'listening');
    takesReloads(server);
    serveUntilStopped(server, log, stopOnSignals);
  } catch (cause) {
    if (cause instanceof StartError) fail(`${cause.message}${adviceFor(flags)}`);
    throw cause;
  }
}

/** Whoever forgets --config has lost nothing. */
function adviceFor({ dataDir, config }: ServeDekFlags): string {
  const isOfConfig = existsSync(join(dataDir, 'store')) && !existsSync(join(dataDir, 'root.key'));
  return config === undefined && isOfConfig
    ? '; a directory that was made with --config opens with that configuration alone'
    : '';
}

/** sun_path of sockaddr_un (unix(7)) has 108 bytes, of which the last one is 0. */
const maxSocketBytes = 107;

/** Throws a StartError that says which. */
function checkSocketPaths({ socket, kmsV2Socket }: ServeDekFlags): void {
  for (const [flag, given] of Object.entries({ '--socket': socket, '--kms-v2-socket': kmsV2Socket })) {
    if (given === undefined) continue;
    if (Buffer.byteLength(resolve(given)) > maxSocketBytes)
      throw new StartError(
        `${flag}: the path of a Unix socket has at most ${maxSocketBytes} bytes, with its directory`,
      );
    // KMS_LISTEN has places behind commas, and options behind a question mark.
    if (/[^\x21-\x7e]|[,?#%]/.test(resolve(given)))
      throw new StartError(`${flag}: the path has printable ASCII only, without blanks and without , ? # %`);
  }
}

/** gRPC is loaded where it is wanted. */
async function kmsV2Door(
  { socket, kmsV2Socket }: ServeDekFlags,
  authenticator: Authenticator,
  log: Logger,
  { groupReadableSecrets: groupAllowed }: Config,
) {
  if (kmsV2Socket === undefined) return undefined;
  const path = resolve(kmsV2Socket);
  if (path === resolve(socket)) throw new StartError('--kms-v2-socket is the socket of --socket');
  // Before anything is made: as the listeners' own.
  await requireFreeSocket(path, { groupAllowed });
  const { KmsV2Door } = await import('../../grpc/kms-v2/door.ts');
  return (service: Service) => {
    const { requestPath, health, clock, metrics } = service;
    const door = new KmsV2Door(
      {
        ...{ requestPath, health, clock, metrics, authenticator, log },
        operations: () => service.dekOperations as DekOperations,
      },
      { path, groupAllowed },
    );
    health.condition('kms_v2_socket', 'wanted', () => door.reachable);
    return door;
  };
}

/** Those of the configuration as it was read last. */
class LiveUsers implements Authenticator {
  readonly #tenant: string;
  #now: Authenticator;

  constructor(tenant: string, file: DekConfigFile | undefined) {
    this.#tenant = tenant;
    this.#now = peerUserAuthenticator(tenant, file?.users, everyRole);
  }

  authenticate(...asked: Parameters<Authenticator['authenticate']>): Result<Caller> {
    return this.#now.authenticate(...asked);
  }

  replace({ users }: DekConfigFile): void {
    this.#now = peerUserAuthenticator(this.#tenant, users, everyRole);
  }
}

/** Settings, and the users of the configuration; its master key counts at the next start. */
function readAgain({ config }: ServeDekFlags, ways: readonly string[], users: LiveUsers): LoadedConfig {
  const loaded = processSettings(ways);
  if (config === undefined || !loaded.ok) return loaded;
  try {
    const file = readDekConfig(config, secretRule());
    file.masterKey.fill(0);
    users.replace(file);
    return loaded;
  } catch (cause) {
    return { ok: false, problems: [cause instanceof StartError ? cause.message : '--config cannot be read'] };
  }
}

function flagsOf({ socket, dataDir, config }: ServeDekFlags, allowPlainKek: boolean): readonly string[] {
  const flags = ['--listen', `unix:${resolve(socket)}`, '--data-dir', dataDir, '--dek', 'true'];
  if (config === undefined) return flags;
  for (const name of ofConfig)
    for (const prefix of ['KMS_', 'RON_KMS_']) delete process.env[`${prefix}${name}`];
  return [...flags, '--dek-allow-plain-kek', String(allowPlainKek)];
}

function settingsOf(ways: readonly string[]) {
  const loaded = processSettings(ways);
  if (!loaded.ok) return fail(...loaded.problems);
  for (const warning of loaded.warnings) process.stderr.write(`intaglio: ${warning}\n`);
  return loaded.config;
}

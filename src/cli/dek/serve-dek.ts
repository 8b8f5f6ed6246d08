import { resolve } from 'node:path';
import { Command, Option } from 'commander';
import type { Authenticator } from '../../auth/auth.ts';
import { peerUserAuthenticator } from '../../auth/peer-users.ts';
import type { Config, LoadedConfig } from '../../config/load.ts';
import type { Prepared, Reloadable } from '../../config/reload.ts';
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
import { inWordsOfConfig } from './advice.ts';
import { type DekConfigFile, everyRole, readDekConfig } from './config-file.ts';

export interface ServeDekFlags {
  readonly socket: string;
  readonly dataDir: string;
  readonly socketMode: string;
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
    .addOption(
      new Option('--socket-mode <mode>', 'who may connect: this user, its group, or everybody')
        .choices(['0600', '0660', '0666'])
        .default('0600'),
    )
    .option(
      '--config <file>',
      'YAML, mode 0600: master_key_hex or master_key_file, allowed_uids, allow_plain_kek',
    )
    .option('--kms-v2-socket <path>', 'the KMS v2 plugin of Kubernetes (gRPC), on a socket of its own')
    .addHelpText(
      'after',
      `
With --config the master key and the allowed users come from that file alone, and nothing of these is read from the environment.
Without it the root key is <data-dir>/root.key, made at the first start. All other settings are those of serve.
A database that runs as another user needs --socket-mode 0660 and a directory of the socket that lets its group through.

Examples:
  openssl rand -hex 32 | sed 's/.*/master_key_hex: "&"/' > /etc/intaglio/dek.yaml && chmod 600 /etc/intaglio/dek.yaml
  intaglio serve-dek --socket /run/intaglio/dek.sock --data-dir /var/lib/intaglio/dek --config /etc/intaglio/dek.yaml`,
    )
    .action(serveDek);
}

async function serveDek(flags: ServeDekFlags): Promise<void> {
  let file: DekConfigFile | undefined;
  try {
    checkSocketPaths(flags);
    file = flags.config === undefined ? undefined : readDekConfig(flags.config, secretRule());
    checkUsers(flags, file);
    const ways = flagsOf(flags, file?.allowPlainKek ?? false);
    const config = settingsOf(ways, file);
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
      ...{ authenticator: users, reloadable: [users] },
      ...(sideDoor === undefined ? undefined : { sideDoor }),
    });
    takesReloads(server);
    serveUntilStopped(server, log, stopOnSignals);
    // Whoever reads this may send a signal at once.
    const [url] = server.urls;
    log.info({ url, engine: server.engine.name, pid: process.pid }, 'listening');
  } catch (cause) {
    // The command ends here.
    file?.masterKey.fill(0);
    if (cause instanceof StartError) fail(inWordsOfConfig(cause, flags));
    throw cause;
  } finally {
    // The engine has its own copy.
    file?.masterKey.fill(0);
  }
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
    if (given.startsWith('unix:')) throw new StartError(`${flag}: the path alone, without unix: before it`);
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
class LiveUsers implements Authenticator, Reloadable {
  readonly #tenant: string;
  #now: Authenticator;
  /** Read with the settings that are taken or refused next. */
  next: Pick<DekConfigFile, 'users'> | undefined;

  constructor(tenant: string, file: DekConfigFile | undefined) {
    this.#tenant = tenant;
    this.#now = peerUserAuthenticator(tenant, file?.users, everyRole);
  }

  authenticate(...asked: Parameters<Authenticator['authenticate']>): Result<Caller> {
    return this.#now.authenticate(...asked);
  }

  prepare(): Prepared {
    const { next } = this;
    this.next = undefined;
    return {
      commit: () => {
        if (next !== undefined) this.#now = peerUserAuthenticator(this.#tenant, next.users, everyRole);
      },
    };
  }
}

/** Settings, and the users of the configuration; its master key counts at the next start. */
function readAgain(flags: ServeDekFlags, ways: readonly string[], users: LiveUsers): LoadedConfig {
  const { config } = flags;
  const loaded = processSettings(ways);
  if (config === undefined || !loaded.ok) return loaded;
  try {
    const file = readDekConfig(config, secretRule());
    file.masterKey.fill(0);
    checkUsers(flags, file);
    users.next = file;
    return loaded;
  } catch (cause) {
    return { ok: false, problems: [cause instanceof StartError ? cause.message : '--config cannot be read'] };
  }
}

/** Everybody on the machine and no list would be a service without any check. */
function checkUsers({ socketMode }: ServeDekFlags, file: DekConfigFile | undefined): void {
  if (socketMode === '0666' && file?.users === undefined)
    throw new StartError(
      '--socket-mode 0666 lets every user of this machine do everything: name those who may under allowed_uids of --config',
    );
}

function flagsOf(
  { socket, socketMode, dataDir, config }: ServeDekFlags,
  allowPlainKek: boolean,
): readonly string[] {
  const flags = [
    '--listen',
    `unix:${resolve(socket)}?mode=${socketMode}`,
    '--data-dir',
    dataDir,
    '--dek',
    'true',
  ];
  if (config === undefined) return flags;
  for (const name of ofConfig)
    for (const prefix of ['KMS_', 'RON_KMS_']) delete process.env[`${prefix}${name}`];
  return [...flags, '--dek-allow-plain-kek', String(allowPlainKek)];
}

function settingsOf(ways: readonly string[], file: DekConfigFile | undefined) {
  const loaded = processSettings(ways);
  if (!loaded.ok) {
    file?.masterKey.fill(0);
    return fail(...loaded.problems);
  }
  for (const warning of loaded.warnings) process.stderr.write(`intaglio: ${warning}\n`);
  return loaded.config;
}

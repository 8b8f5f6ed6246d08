import { resolve } from 'node:path';
import { Command } from 'commander';
import type { Authenticator } from '../../auth/auth.ts';
import { peerUserAuthenticator } from '../../auth/peer-users.ts';
import { refuseInspection } from '../../core/process/inspection.ts';
import { StartError } from '../../core/start-error.ts';
import { givenRootKey } from '../../custody/root-key/given.ts';
import { dekDialect } from '../../http/dialects/dek/index.ts';
import { createLog, type Logger, setLogging } from '../../observe/log.ts';
import type { DekOperations } from '../../operations/deks/operations.ts';
import type { Service } from '../../service.ts';
import { fail } from '../fail.ts';
import { serveUntilStopped } from '../notify.ts';
import { processSettings, secretRule } from '../settings.ts';
import { everyRole, readDekConfig } from './config-file.ts';

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
    const file = flags.config === undefined ? undefined : readDekConfig(flags.config, rule);
    const config = settingsOf(flags, file?.allowPlainKek ?? false);
    const log = createLog(config.logLevel, config.telemetryService);
    setLogging(log, config);
    if (config.engine === 'openssl')
      log.warn('keys of the OpenSSL engine lie in memory that can be swapped: build the native engine');
    // The start does it as well; so early a refusal costs next to nothing.
    if (!config.allowCoreDumps) refuseInspection();
    const { start, stopOnSignals } = await import('../../main.ts');
    const authenticator = peerUserAuthenticator(config.dekTenant, file?.users, everyRole);
    const sideDoor = await kmsV2Door(flags, authenticator, log);
    const server = await start(config, log, {
      ...(file === undefined ? undefined : { rootKey: [givenRootKey(file.place, file.masterKey)] }),
      surfaces: (service) => () => [dekDialect(service.dekOperations as DekOperations)],
      authenticator,
      ...(sideDoor === undefined ? undefined : { sideDoor }),
    });
    file?.masterKey.fill(0);
    const [url] = server.urls;
    log.info({ url, engine: server.engine.name, pid: process.pid }, 'listening');
    serveUntilStopped(server, log, stopOnSignals);
  } catch (cause) {
    if (cause instanceof StartError) fail(cause.message);
    throw cause;
  }
}

/** gRPC is loaded where it is wanted. */
async function kmsV2Door({ socket, kmsV2Socket }: ServeDekFlags, authenticator: Authenticator, log: Logger) {
  if (kmsV2Socket === undefined) return undefined;
  const path = resolve(kmsV2Socket);
  if (path === resolve(socket)) throw new StartError('--kms-v2-socket is the socket of --socket');
  const { KmsV2Door } = await import('../../grpc/kms-v2/door.ts');
  return (service: Service) => {
    const { requestPath, health, clock, metrics, settings } = service;
    return new KmsV2Door(
      {
        ...{ requestPath, health, clock, metrics, authenticator, log },
        operations: () => service.dekOperations as DekOperations,
      },
      { path, groupAllowed: settings.now.groupReadableSecrets },
    );
  };
}

function settingsOf({ socket, dataDir, config }: ServeDekFlags, allowPlainKek: boolean) {
  const flags = ['--listen', `unix:${resolve(socket)}`, '--data-dir', dataDir, '--dek', 'true'];
  if (config !== undefined) {
    for (const name of ofConfig)
      for (const prefix of ['KMS_', 'RON_KMS_']) delete process.env[`${prefix}${name}`];
    flags.push('--dek-allow-plain-kek', String(allowPlainKek));
  }
  const loaded = processSettings(flags);
  if (!loaded.ok) return fail(...loaded.problems);
  for (const warning of loaded.warnings) process.stderr.write(`intaglio: ${warning}\n`);
  return loaded.config;
}

import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { algorithmNames } from '../algorithms/registry.ts';
import { type Config, loadConfig } from '../config/load.ts';
import { type Failure, failure } from '../core/failure.ts';
import { StartError } from '../core/start-error.ts';
import { createLog, setLogging } from '../observe/log.ts';
import { openService, type Service } from '../service.ts';
import { KmsOpenError } from './errors.ts';

/** How a Kms is opened. An option that is not known is refused. */
export interface KmsOptions {
  /** Whose keys these are where no other tenant is named: 1 to 63 of a-z 0-9 . _ - (default: `default`). */
  readonly tenant?: string;
  /** `auto` takes the native engine where it was built, and OpenSSL otherwise. */
  readonly engine?: 'auto' | 'native' | 'openssl';
  /**
   * `pool`: threads of its own do the cryptography. `inline`: the calling thread does, and none is started: an instance then
   * costs next to nothing, and a signature holds up the event loop for as long as it takes. Kms has a pool, InMemoryKms none.
   */
  readonly workers?: 'pool' | 'inline';
  /** Any setting of docs/configuration.md by its name in a file: `{ rotation: 'ed25519=365' }`. */
  readonly settings?: Readonly<Record<string, string | number | boolean>>;
  /** Gets the operator's log, a JSON line at a time; without it there is none. */
  readonly log?: (line: string) => void;
}

export interface DirectoryOptions extends KmsOptions {
  /** Holds the store, the root key and the audit log; made with mode 0700 when it is missing. One Kms or service at a time. */
  readonly directory: string;
}

/** Limits that protect callers on a network from each other: the process has only itself, and may ask for much at once. */
const ownDefaults = {
  sign_rate_limit: 0,
  create_rate_limit: 0,
  destroy_rate_limit: 0,
  default_deadline_ms: 5_000,
  sign_deadline_ms: 5_000,
  queue_target_ms: 5_000,
  queue_per_tenant: 8_192,
};

const optionNames: readonly string[] = ['tenant', 'engine', 'workers', 'settings', 'log', 'directory'];

export interface OpenedLibrary {
  readonly service: Service;
  /** Why nothing can be asked any more. */
  refusal(): Failure | undefined;
  /** Counts a call as under way, so that the end waits for it. */
  during<T>(call: () => Promise<T>): Promise<T>;
  /** Idempotent. */
  close(): Promise<void>;
}

export async function openLibrary(
  options: KmsOptions & { readonly directory?: string },
  fixed: Readonly<Record<string, string | boolean>>,
  usualWorkers: 'pool' | 'inline',
  withoutCapabilities = false,
): Promise<OpenedLibrary> {
  const config = configOf(options, fixed);
  const { log: write, workers = usualWorkers } = options;
  const log = createLog(
    write === undefined ? 'silent' : config.logLevel,
    config.telemetryService,
    write === undefined ? { write: () => {} } : { write: (text) => write(text.trimEnd()) },
  );
  if (write !== undefined) setLogging(log, config);
  let dead = false;
  try {
    const service = await openService(config, {
      log,
      withoutCapabilities,
      inline: workers === 'inline',
      onAuditDeath(cause) {
        dead = true;
        log.fatal({ err: cause }, 'the audit thread ended');
      },
    });
    return opened(service, () => dead);
  } catch (cause) {
    if (cause instanceof StartError) throw new KmsOpenError([cause.message], cause);
    throw cause;
  }
}

function opened(service: Service, isDead: () => boolean): OpenedLibrary {
  const underWay = new Set<Promise<unknown>>();
  let closing: Promise<void> | undefined;
  return {
    service,
    refusal() {
      if (closing !== undefined) return failure('NotReady', 'it is closed');
      return isDead() ? failure('AuditUnavailable', 'the audit log has ended: open it again') : undefined;
    },
    async during(call) {
      const running = call();
      underWay.add(running);
      try {
        return await running;
      } finally {
        underWay.delete(running);
      }
    },
    close() {
      closing ??= Promise.allSettled(underWay).then(() => service.stop());
      return closing;
    },
  };
}

/** No environment is read: what the options do not say has its default. */
function configOf(
  options: KmsOptions & { readonly directory?: string },
  fixed: Readonly<Record<string, string | boolean>>,
): Config {
  const given = optionsOf(options);
  const settings = { ...ownDefaults, ...given.settings, ...fixed };
  const file = JSON.stringify(settings);
  const loaded = loadConfig({
    argv: ['--config', ownFile],
    env: {},
    readFile: (path) => (path === ownFile ? file : readFileSync(path, 'utf8')),
    cores: availableParallelism(),
    algorithmNames,
  });
  if (!loaded.ok) throw new KmsOpenError(loaded.problems);
  return loaded.config;
}

/** Is no file: what it would hold is the options. */
const ownFile = 'options.json';

function optionsOf(options: KmsOptions & { readonly directory?: string }) {
  if (typeof options !== 'object' || options === null) throw new KmsOpenError(['options is an object']);
  const problems: string[] = [];
  const { settings = {}, engine, directory, log, workers = 'pool' } = options;
  const simple = (value: unknown) => ['string', 'number', 'boolean'].includes(typeof value);
  for (const name of Object.keys(options))
    if (!optionNames.includes(name))
      problems.push(`options has a member that is not known: ${name.slice(0, 64)}`);
  if (typeof settings !== 'object' || settings === null || Array.isArray(settings))
    problems.push('settings is an object');
  else if (!Object.values(settings).every(simple))
    problems.push('settings holds texts, numbers and truth values');
  if (workers !== 'pool' && workers !== 'inline') problems.push('workers is pool or inline');
  if (log !== undefined && typeof log !== 'function') problems.push('log is a function');
  if (directory !== undefined && (typeof directory !== 'string' || directory === ''))
    problems.push('directory is a path');
  if (problems.length > 0) throw new KmsOpenError(problems);
  return {
    settings: {
      ...settings,
      ...(engine === undefined ? undefined : { engine }),
      ...(directory === undefined ? undefined : { data_dir: directory }),
    },
  };
}

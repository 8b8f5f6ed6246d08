import { Command } from 'commander';
import type { Config } from '../config/load.ts';
import { refuseInspection } from '../core/process/inspection.ts';
import { createLog, type Logger, setLogging } from '../observe/log.ts';
import { refusing } from './fail.ts';
import { firstSteps } from './first-steps.ts';
import { whenNpmIsGone } from './npm-parent.ts';
import { serveUntilStopped } from './serve/notify.ts';
import { reloadOnSignal } from './serve/reload-on-signal.ts';
import { processSettings, settingsOrFail } from './settings.ts';

/** `serve`: runs the service until SIGTERM or SIGINT. */
export function serveCommand(): Command {
  return new Command('serve')
    .description('serve until SIGTERM or SIGINT; this is what npm start does')
    .argument('[settings...]', 'flags such as --bind 127.0.0.1:0; `config print --help` lists them all')
    .allowUnknownOption()
    .action(serve);
}

async function serve(flags: readonly string[]): Promise<void> {
  const { config, injected } = settingsOrFail(flags);
  const takesReloads = reloadOnSignal(() => processSettings(flags));
  const log = createLog(config.logLevel, config.telemetryService);
  setLogging(log, config);
  if (injected.length > 0) {
    log.info(
      { variables: injected },
      'variables that Kubernetes sets for a Service are not taken for settings',
    );
  }
  const { server, stopOnSignals } = await started(config, log);
  process.stderr.write(firstSteps(server));
  takesReloads(server);
  const stop = serveUntilStopped(server, log, stopOnSignals);
  // Whoever reads this may send a signal at once.
  const [url, ...others] = server.urls;
  log.info(
    { url, ...(others.length > 0 ? { others } : {}), engine: server.engine.name, pid: process.pid },
    'listening',
  );
  whenNpmIsGone(() => stop('npm is gone'));
}

function started(config: Config, log: Logger) {
  return refusing(async () => {
    // The start does it as well; so early a refusal costs next to nothing.
    if (!config.allowCoreDumps) refuseInspection();
    // Only here: the other commands need no service, and answer sooner without loading it.
    const { start, stopOnSignals } = await import('../main.ts');
    return { server: await start(config, log), stopOnSignals };
  });
}

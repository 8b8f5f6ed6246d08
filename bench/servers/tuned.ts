import { defaultTuning } from '../../src/assemble/cryptography.ts';
import { settingsOrFail } from '../../src/cli/settings.ts';
import { start } from '../../src/main.ts';
import { createLog } from '../../src/observe/log.ts';
import type { Policy } from '../support/product.ts';

/**
 * Comparator: the service itself with one of its policies replaced by what other servers do. Takes a Policy as JSON on
 * its command line, its settings from the environment.
 */
const { oneQueue = false, callsPerMessage = defaultTuning.jobMaxCalls } = JSON.parse(
  process.argv[2] as string,
) as Policy;

const { config } = settingsOrFail([]);
const log = createLog(config.logLevel, config.telemetryService);
const service = await start(config, log, {
  tuning: {
    ...defaultTuning,
    jobMaxCalls: callsPerMessage,
    queueOf: oneQueue ? () => 'everybody' : defaultTuning.queueOf,
  },
});
log.info({ url: service.urls[0], engine: service.engine.name }, 'listening');
process.once('SIGTERM', () => void service.stop().then(() => process.exit(0)));

import { parseArgs } from 'node:util';
import { startService } from '../../test/support/service.ts';
import { poolFilled } from '../support/rsa-pool.ts';

/**
 * Fills the pool of RSA-2048 keys of a service with this data directory, which the scenario kms-v1 then starts from
 * (INTAGLIO_BENCH_POOL): 3,000 of them take minutes. What is there already stays; it can be ended at any time.
 */
const { positionals } = parseArgs({ allowPositionals: true });
const [dataDir, count = '3000'] = positionals;
if (dataDir === undefined) {
  process.stderr.write('usage: npm exec -- node bench/servers/fill-rsa-pool.ts <data directory> [keys]\n');
  process.exit(2);
}
const service = await startService({ dataDir, env: { KMS_RSA_POOL: count } });
const stop = async () => {
  process.exitCode = (await service.stop()) ?? 1;
};
process.once('SIGTERM', () => void stop().then(() => process.exit()));
process.once('SIGINT', () => void stop().then(() => process.exit()));
for (;;) {
  const { ready, made } = await poolFilled(service.port, Number(count), 10_000);
  process.stdout.write(`${ready} keys lie ready, ${made} of them made now\n`);
  if (ready >= Number(count)) break;
}
await stop();

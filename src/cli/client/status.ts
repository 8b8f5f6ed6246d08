import { setTimeout as delay } from 'node:timers/promises';
import { Command, InvalidArgumentError } from 'commander';
import type { LoadAnswer } from '../../client/answers.ts';
import { KmsError } from '../../client/errors.ts';
import type { KmsClient } from '../../client/kms-client.ts';
import { line } from './files.ts';
import { type AskedService, placeOf, withClient, withService } from './service.ts';

interface Options extends AskedService {
  readonly once?: boolean;
  readonly json?: boolean;
  readonly interval: number;
}

function secondsOf(text: string): number {
  const seconds = Number(text);
  if (!(seconds >= 0.1 && seconds <= 3_600)) throw new InvalidArgumentError('0.1 to 3600 seconds');
  return seconds;
}

export function statusCommand(): Command {
  return withService(
    new Command('status').description('load, queues and health of a service, live; needs kms:admin'),
  )
    .option('--once', 'show it once')
    .option('--json', 'one line of JSON each time')
    .option('--interval <seconds>', 'between two looks', secondsOf, 2)
    .addHelpText('after', '\nExample:\n  intaglio status --once')
    .action((options: Options) => withClient(options, (client) => watch(client, options)));
}

async function watch(client: KmsClient, options: Options): Promise<void> {
  const { url } = placeOf(options);
  for (;;) {
    const [load, ready] = await Promise.all([client.load(), readiness(client)]);
    if (options.json === true) process.stdout.write(line({ ready, ...load }));
    else process.stdout.write(`${options.once === true ? '' : '\x1b[H\x1b[2J'}${screen(url, ready, load)}`);
    if (options.once === true) return;
    await delay(options.interval * 1_000);
  }
}

async function readiness(client: KmsClient): Promise<boolean> {
  try {
    await client.call('/readyz', undefined);
    return true;
  } catch (error) {
    if (error instanceof KmsError) return false;
    throw error;
  }
}

function screen(url: string, ready: boolean, { queue, window_s, latency, tenants }: LoadAnswer): string {
  const rows = latency.map(({ op, alg, count, p50_ms, p95_ms, p99_ms, max_ms }) =>
    [op, alg, count, p50_ms, p95_ms, p99_ms, max_ms].map(String),
  );
  const shares = tenants.map(({ tenant, share }) => `  ${tenant}  ${(share * 100).toFixed(1)}%`);
  return `${[
    `${url}  ${ready ? 'ready' : 'NOT READY'}`,
    `queue: ${queue.waiting_calls} calls, ${queue.waiting_cost_us} us of work, ${queue.active_tenants} tenants`,
    '',
    `latency of the last ${window_s} to ${2 * window_s} s, in ms`,
    ...table([['operation', 'algorithm', 'calls', 'p50', 'p95', 'p99', 'max'], ...rows]),
    '',
    "tenants by their part of the workers' time",
    ...shares,
  ].join('\n')}\n`;
}

function table(rows: readonly (readonly string[])[]): readonly string[] {
  const widths = rows[0]?.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0))) ?? [];
  return rows.map((row) =>
    `  ${row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  ')}`.trimEnd(),
  );
}

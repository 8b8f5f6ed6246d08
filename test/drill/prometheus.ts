import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { dashboardQueries } from '../deploy/dashboard.ts';
import { call, helloWorldB3, startService, temporaryDirectory } from '../support/service.ts';
import { debianTool } from './debian-tool.ts';

/**
 * A real Prometheus (Debian: `prometheus`) scrapes a service under light load with the configuration of compose, and is asked what
 * the dashboard asks; promtool reads what is scraped. Exit status 1 where it is refused, or a query answers nothing.
 */

/** Two scrapes lie within a rate's range, and three are no accident. */
const scrapes = 3;

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  return typeof address === 'object' && address !== null ? address.port : 0;
}

interface Answer {
  readonly status: string;
  readonly error?: string;
  readonly data: { readonly result: readonly { readonly value: readonly [number, string] }[] };
}

async function ask(prometheus: string, query: string): Promise<Answer> {
  const answer = await fetch(`${prometheus}/api/v1/query?query=${encodeURIComponent(query)}`);
  return (await answer.json()) as Answer;
}

const tools = debianTool('prometheus', ['prometheus', 'promtool']);
let failed = false;

function say(held: boolean, what: string): void {
  failed ||= !held;
  process.stdout.write(`${held ? 'holds ' : 'FAILS '} ${what}\n`);
}

function promtool(args: readonly string[], input = ''): { status: number | null; said: string } {
  const { status, stdout, stderr } = spawnSync(tools.promtool, args, { input, encoding: 'utf8' });
  return { status, said: `${stdout}${stderr}`.trim() };
}

const deployed = join(import.meta.dirname, '..', '..', 'deploy', 'prometheus', 'prometheus.yml');
const service = await startService({ env: { KMS_METRICS_NAMES: 'open' } });
const directory = temporaryDirectory();
const config = join(directory, 'prometheus.yml');
writeFileSync(
  config,
  readFileSync(deployed, 'utf8')
    .replace('intaglio:7441', `127.0.0.1:${service.port}`)
    // Three scrapes within seconds.
    .replace(/scrape_interval: \d+s/, 'scrape_interval: 1s'),
);
const checked = promtool(['check', 'config', config]);
say(
  checked.status === 0,
  `promtool check config deploy/prometheus/prometheus.yml -> ${checked.said.split('\n').at(-1)?.trim()}`,
);
const port = await freePort();
const prometheus = spawn(
  tools.prometheus,
  [
    `--config.file=${config}`,
    `--storage.tsdb.path=${join(directory, 'data')}`,
    `--web.listen-address=127.0.0.1:${port}`,
  ],
  { stdio: 'ignore' },
);
const gone = once(prometheus, 'exit');
const url = `http://127.0.0.1:${port}`;
try {
  const { body } = await call(service, service.token, 'POST', '/v1/kms/keys', {
    purpose: 'demo',
    alg: 'ed25519',
  });
  const asked = { kid: body.kid, payload_b3: helloWorldB3 };
  const endMs = Date.now() + 60_000;
  for (let seen = 0; seen < scrapes; ) {
    if (Date.now() > endMs) throw new Error('Prometheus did not scrape the service within a minute');
    await call(service, service.token, 'POST', '/v1/kms/sign', asked);
    await call(service, undefined, 'POST', '/v1/kms/sign', asked);
    await delay(100);
    const count = await ask(url, 'count_over_time(kms_audit_ready[5m])').catch(() => undefined);
    seen = Number(count?.data?.result[0]?.value[1] ?? 0);
  }
  const text = await (await fetch(`${service.url}/metrics`)).text();
  const { status, said } = promtool(['check', 'metrics'], text);
  // Status 3 is advice on names, which stay as they are; 1 is text that cannot be parsed.
  const parsed = status === 0 || status === 3;
  const advised = new Set(said.split('\n').map((line) => line.replace(/ .*/, '')));
  say(parsed, `promtool check metrics -> ${parsed ? `advice on ${[...advised].join(', ')}` : said}`);
  const up = await ask(url, 'up');
  say(up.data.result[0]?.value[1] === '1', 'the target is up');
  for (const { title, query } of dashboardQueries()) {
    const answer = await ask(url, query);
    const values = answer.status === 'success' ? answer.data.result.map(({ value }) => value[1]) : [];
    // NaN is a ratio or quantile of nothing: a panel without a line.
    const answered = values.some((value) => value !== 'NaN');
    say(answered, `${title}: ${query} -> ${answer.error ?? (values.join(' ') || 'no series')}`);
  }
} finally {
  prometheus.kill('SIGTERM');
  await Promise.all([gone, service.stop()]);
}
process.exit(failed ? 1 : 0);

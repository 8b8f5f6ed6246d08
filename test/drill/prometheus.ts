import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { dashboardQueries } from '../deploy/dashboard.ts';
import { call, helloWorldB3, startService, temporaryDirectory } from '../support/service.ts';

/**
 * A real Prometheus (Debian: `prometheus`) scrapes a service under light load, and is asked what the dashboard asks.
 * Exit status 1 where a query is refused, or answers nothing although its series are there.
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

const service = await startService({ env: { KMS_METRICS_NAMES: 'open' } });
const directory = temporaryDirectory();
const config = join(directory, 'prometheus.yml');
writeFileSync(
  config,
  `global: {scrape_interval: 1s}
scrape_configs:
  - job_name: intaglio
    static_configs: [{targets: ["127.0.0.1:${service.port}"]}]
`,
);
const port = await freePort();
const prometheus = spawn(
  'prometheus',
  [
    `--config.file=${config}`,
    `--storage.tsdb.path=${join(directory, 'data')}`,
    `--web.listen-address=127.0.0.1:${port}`,
  ],
  { stdio: 'ignore' },
);
const url = `http://127.0.0.1:${port}`;
let failed = false;
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
  for (const { title, query } of dashboardQueries()) {
    const { status, error, data } = await ask(url, query);
    const answered = status === 'success' && data.result.length > 0;
    failed ||= !answered;
    const what = answered ? data.result.map(({ value }) => value[1]).join(' ') : (error ?? 'no series');
    process.stdout.write(`${answered ? 'answers' : 'FAILS'}  ${title}: ${query} -> ${what}\n`);
  }
} finally {
  prometheus.kill('SIGTERM');
  await Promise.all([once(prometheus, 'exit'), service.stop()]);
}
process.exit(failed ? 1 : 0);

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import test from 'node:test';
import { startInProcess } from '../support/in-process.ts';
import { call, helloWorldB3 } from '../support/service.ts';
import { dashboardQueries } from './dashboard.ts';

const promtool = spawnSync('promtool', ['--version']).status === 0;

async function exposition(): Promise<string> {
  const service = await startInProcess({ listen: true, env: { KMS_METRICS_NAMES: 'open' } });
  try {
    const { body } = await call(service, service.token, 'POST', '/v1/kms/keys', {
      purpose: 'demo',
      alg: 'ed25519',
    });
    const asked = { kid: body.kid, payload_b3: helloWorldB3 };
    assert.equal((await call(service, service.token, 'POST', '/v1/kms/sign', asked)).status, 200);
    assert.equal((await call(service, undefined, 'POST', '/v1/kms/sign', asked)).status, 401);
    return await (await fetch(`${service.url}/metrics`)).text();
  } finally {
    await service.stop();
  }
}

/** The labels of each metric's samples, by its name. */
function seriesOf(text: string): Map<string, Set<string>> {
  const series = new Map<string, Set<string>>();
  for (const line of text.split('\n')) {
    const [, name = '', , labels = ''] = /^([a-zA-Z_:][\w:]*)(\{(.*)\})? /.exec(line) ?? [];
    if (name === '') continue;
    const known = series.get(name) ?? new Set();
    for (const [, label = ''] of labels.matchAll(/([a-zA-Z_]\w*)="/g)) known.add(label);
    series.set(name, known);
  }
  return series;
}

test('every query of the dashboard asks for metrics and labels that the service has', {
  timeout: 60_000,
}, async (context) => {
  const text = await exposition();
  const series = seriesOf(text);
  const queries = dashboardQueries();
  assert.ok(queries.length > 16);
  for (const { title, query } of queries) {
    const names = [...query.matchAll(/\b(?:kms|auth)_\w+/g)].map(([name]) => name);
    assert.ok(names.length > 0, title);
    for (const name of names) assert.ok(series.has(name), `${title}: ${name}`);
    const labels = [...query.matchAll(/by \(([^)]*)\)|\{([a-z]+)=/g)]
      .flatMap(([, grouped, matched]) => (grouped ?? matched ?? '').split(','))
      .map((label) => label.trim());
    const had = new Set(names.flatMap((name) => [...(series.get(name) ?? [])]));
    for (const label of labels) assert.ok(had.has(label), `${title}: ${label}`);
  }
  await context.test(
    "Prometheus's own parser accepts /metrics",
    { skip: !promtool && 'no promtool here' },
    () => {
      const { status, stderr, stdout } = spawnSync('promtool', ['check', 'metrics'], {
        input: text,
        encoding: 'utf8',
      });
      // Its advice on names exits with 3; what it cannot parse with 1.
      assert.ok(status === 0 || status === 3, `${stdout}${stderr}`);
      assert.doesNotMatch(stderr, /error while linting|parse/i);
    },
  );
});

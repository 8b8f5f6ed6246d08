import assert from 'node:assert/strict';
import test from 'node:test';
import {
  ATTR_ERROR_TYPE,
  ATTR_HTTP_REQUEST_METHOD,
  ATTR_HTTP_RESPONSE_STATUS_CODE,
  ATTR_HTTP_ROUTE,
  ATTR_NETWORK_PROTOCOL_VERSION,
  ATTR_URL_SCHEME,
  METRIC_HTTP_SERVER_REQUEST_DURATION,
} from '@opentelemetry/semantic-conventions';
import { Registry } from 'prom-client';
import { HttpMetrics } from '../../src/observe/series/http-metrics.ts';

function measured() {
  const registry = new Registry();
  const metrics = new HttpMetrics(registry);
  const series = async (name: string) =>
    (await registry.metrics()).split('\n').filter((line) => line.startsWith(`${name}{`));
  return { metrics, series };
}

/** As OpenTelemetry's names are written in Prometheus. */
const name = (otel: string) => otel.replaceAll('.', '_');
const duration = `${name(METRIC_HTTP_SERVER_REQUEST_DURATION)}_seconds`;
const sign = { method: 'post', scheme: 'https', route: '/v1/kms/sign' } as const;

test('durations have the stable names and labels, and a status of 500 and above is an error', async () => {
  const { metrics, series } = measured();
  metrics.answered({ ...sign, status: 200 }, 0.004);
  metrics.answered({ ...sign, status: 200 }, 0.3);
  metrics.answered({ ...sign, status: 503 }, 0.1);
  metrics.answered({ ...sign, status: 429 }, 0.1);
  const given = (status: number) =>
    [
      `${name(ATTR_HTTP_REQUEST_METHOD)}="POST"`,
      `${name(ATTR_URL_SCHEME)}="https"`,
      `${name(ATTR_HTTP_ROUTE)}="/v1/kms/sign"`,
      `${name(ATTR_HTTP_RESPONSE_STATUS_CODE)}="${status}"`,
      ...(status === 503 ? [`${name(ATTR_ERROR_TYPE)}="503"`] : []),
      `${name(ATTR_NETWORK_PROTOCOL_VERSION)}="1.1"`,
    ].join();
  assert.deepEqual(await series(`${duration}_count`), [
    `${duration}_count{${given(200)}} 2`,
    `${duration}_count{${given(503)}} 1`,
    `${duration}_count{${given(429)}} 1`,
  ]);
  const ok = (await series(`${duration}_bucket`)).filter((line) => line.includes('code="200"'));
  assert.deepEqual(
    ok.map((line) => /le="([^"]+)"\} (\d+)/.exec(line)?.slice(1).map(Number)),
    [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, Number.NaN].map((le) => [
      le,
      le < 0.3 ? 1 : 2,
    ]),
  );
});

test('a request whose client has gone has no status', async () => {
  const { metrics, series } = measured();
  metrics.answered({ ...sign, status: undefined }, 1);
  const [line = ''] = await series(`${duration}_count`);
  assert.match(line, /error_type="unanswered"/);
  assert.doesNotMatch(line, /status_code/);
});

test('requests under way are counted up and down by method and scheme', async () => {
  const { metrics, series } = measured();
  const active = metrics.active('post', 'http');
  active.count++;
  metrics.active('post', 'https').count++;
  const now = () => series('http_server_active_requests');
  assert.deepEqual(await now(), [
    'http_server_active_requests{http_request_method="POST",url_scheme="http"} 1',
    'http_server_active_requests{http_request_method="POST",url_scheme="https"} 1',
  ]);
  active.count--;
  assert.match((await now())[0] ?? '', / 0$/);
});

test('invented methods are one series, and the number of all is bounded', async () => {
  const { metrics, series } = measured();
  for (let n = 0; n < 2_000; n++) {
    metrics.answered({ method: `x${n}`, scheme: 'http', route: '', status: 404 }, 0.1);
    metrics.active(`x${n}`, 'http');
  }
  assert.equal((await series(`${duration}_count`)).length, 1);
  assert.match((await series(`${duration}_count`))[0] ?? '', /http_request_method="_OTHER".* 2000$/);
  for (let n = 0; n < 2_000; n++)
    metrics.answered({ method: 'get', scheme: 'http', route: `/${n}`, status: 200 }, 0.1);
  const counts = await series(`${duration}_count`);
  assert.equal(counts.length, 513);
  const total = counts.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
  assert.equal(total, 4_000);
});

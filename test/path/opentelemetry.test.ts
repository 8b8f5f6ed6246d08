import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { call, helloWorldB3, startService } from '../support/service.ts';

const example = fileURLToPath(new URL('../../docs/examples/opentelemetry.js', import.meta.url));

interface OtlpSpan {
  readonly name: string;
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId?: string;
  readonly kind: number;
}

/** As a collector takes spans (OTLP over HTTP, JSON). */
async function collector() {
  const spans: OtlpSpan[] = [];
  const resources: string[] = [];
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      assert.equal(request.url, '/v1/traces');
      const sent = JSON.parse(Buffer.concat(chunks).toString());
      for (const { resource, scopeSpans } of sent.resourceSpans) {
        resources.push(JSON.stringify(resource.attributes));
        for (const scope of scopeSpans) spans.push(...scope.spans);
      }
      response.setHeader('content-type', 'application/json').end('{}');
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return { url, spans, resources, close: () => server.close() };
}

test('the example, registered by --import, sends the spans of a process to a collector, the last ones at its end', async () => {
  const { url, spans, resources, close } = await collector();
  try {
    const service = await startService({
      program: ['--import', example, 'src/cli/main.ts', 'serve'],
      env: { OTEL_EXPORTER_OTLP_ENDPOINT: url, OTEL_RESOURCE_ATTRIBUTES: 'deployment.environment.name=test' },
    });
    const made = await call(service, service.token, 'POST', '/v1/kms/keys', {
      purpose: 'web',
      alg: 'rsa-2048',
    });
    const traceId = '0af7651916cd43dd8448eb211c80319c';
    const traceparent = `00-${traceId}-b7ad6b7169203331-01`;
    const body = { kid: made.body.kid, payload_b3: helloWorldB3 };
    const signed = await call(service, service.token, 'POST', '/v1/kms/sign', body, { traceparent });
    assert.equal(signed.status, 200);
    // At once, so that the spans are still held by the process.
    assert.equal(await service.stop(), 0);
    const own = spans.filter((span) => span.traceId === traceId);
    const server = own.find(({ kind }) => kind === 2);
    assert.equal(server?.name, 'POST /v1/kms/sign');
    assert.equal(server?.parentSpanId, 'b7ad6b7169203331');
    assert.deepEqual(own.map(({ name }) => name).sort(), ['POST /v1/kms/sign', 'kms.engine', 'kms.queue']);
    for (const { name, parentSpanId } of own)
      if (name.startsWith('kms.')) assert.equal(parentSpanId, server?.spanId);
    assert.match(resources.join(), /"service\.name","value":\{"stringValue":"intaglio"\}/);
    assert.match(resources.join(), /deployment\.environment\.name/);
  } finally {
    close();
  }
});

/**
 * Sends the service's spans to a collector by OTLP over HTTP, see docs/telemetry.md:
 *
 *   npm install @opentelemetry/sdk-trace-node @opentelemetry/resources @opentelemetry/exporter-trace-otlp-http
 *   OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318 node --import ./opentelemetry.js src/cli/main.ts serve
 *
 * OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES, OTEL_TRACES_SAMPLER and all OTEL_EXPORTER_OTLP_* are the packages' own.
 */
import { isMainThread } from 'node:worker_threads';

// Node runs this file in each worker thread too, and all spans are made on the main one.
if (isMainThread) {
  const { BatchSpanProcessor, NodeTracerProvider } = await import('@opentelemetry/sdk-trace-node');
  const { detectResources, envDetector, resourceFromAttributes } = await import('@opentelemetry/resources');
  const { OTLPTraceExporter } = await import('@opentelemetry/exporter-trace-otlp-http');
  const own = resourceFromAttributes({ 'service.name': 'intaglio' });
  const provider = new NodeTracerProvider({
    resource: own.merge(detectResources({ detectors: [envDetector] })),
    spanProcessors: [new BatchSpanProcessor(new OTLPTraceExporter())],
  });
  // The service hands its requests on by itself, so that a context manager would only cost.
  provider.register({ contextManager: null, propagator: null });
}

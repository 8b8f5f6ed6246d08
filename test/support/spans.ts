import type { ReadableSpan } from '@opentelemetry/sdk-trace-node';
import { InMemorySpanExporter, NodeTracerProvider, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-node';

/** Registers OpenTelemetry in this process, as `--import` does it in a service's. Before the service starts. */
export function registerInMemory() {
  const exporter = new InMemorySpanExporter();
  const provider = new NodeTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] });
  provider.register();
  return {
    /** The spans of a trace. */
    trace(traceId: string) {
      const spans = exporter.getFinishedSpans().filter((span) => span.spanContext().traceId === traceId);
      return {
        spans,
        named: (name: string): ReadableSpan | undefined => spans.find((span) => span.name === name),
      };
    },
    spans: () => exporter.getFinishedSpans(),
  };
}

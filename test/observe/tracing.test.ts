import assert from 'node:assert/strict';
import test from 'node:test';
import { ROOT_CONTEXT, SpanStatusCode, trace as traceApi } from '@opentelemetry/api';
import { InMemorySpanExporter, NodeTracerProvider, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-node';
import { hrtimeMs } from '../../src/core/clock.ts';
import {
  currentRequest,
  findTracer,
  flushSpans,
  RequestTrace,
  runTraced,
  timed,
  type WorkTimes,
} from '../../src/observe/tracing.ts';

const exporter = new InMemorySpanExporter();
const provider = new NodeTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] });
const tracer = provider.getTracer('test');
const beginning = { name: 'POST /sign', attributes: {}, traceparent: undefined };

/** The finished spans of what `use` does. */
function spansOf(use: () => void) {
  exporter.reset();
  use();
  return exporter.getFinishedSpans();
}

// The first of this file, as the process keeps what is registered.
test('there is a tracer only where somebody registered OpenTelemetry, and its spans can be flushed', async (t) => {
  assert.equal(findTracer('1.0.0'), undefined);
  await flushSpans();
  let flushed = 0;
  const registered = new NodeTracerProvider();
  registered.forceFlush = async () => void flushed++;
  registered.register({ contextManager: null, propagator: null });
  t.after(() => traceApi.disable());
  assert.ok(findTracer('1.0.0')?.startSpan('x', {}, ROOT_CONTEXT).isRecording());
  await flushSpans();
  assert.equal(flushed, 1);
});

test('without a tracer times are kept where they are wanted, and else nothing is', () => {
  const kept = new RequestTrace(undefined, beginning, true);
  const times = kept.work('sign', 2) as WorkTimes;
  assert.deepEqual([times.kind, times.items, kept.works.length], ['sign', 2, 1]);
  assert.equal(kept.traceparent, undefined);
  assert.equal(new RequestTrace(undefined, beginning, false).work('sign', 2), undefined);
});

test('work that was refused while it waited has no span of the engine', () => {
  const spans = spansOf(() => {
    const trace = new RequestTrace(tracer, beginning, false);
    let told = '';
    const settle = timed<void>(trace.work('sign', 1) as WorkTimes, (outcome) => {
      told = outcome.ok ? 'ok' : outcome.failure.code;
    });
    settle({ ok: false, failure: { code: 'Timeout' } });
    assert.equal(told, 'Timeout');
    trace.end({}, '504');
  });
  assert.deepEqual(
    spans.map(({ name }) => name),
    ['kms.queue', 'POST /sign'],
  );
  assert.equal(spans[1]?.attributes['error.type'], '504');
});

test('an engine that failed is an error of its span', () => {
  const spans = spansOf(() => {
    const trace = new RequestTrace(tracer, beginning, false);
    const times = trace.work('sign', 1) as WorkTimes;
    times.sentAtMs = hrtimeMs();
    timed(times, () => {})({ ok: false, failure: { code: 'Internal' } });
    trace.end({}, '500');
  });
  const engine = spans.find(({ name }) => name === 'kms.engine');
  assert.equal(engine?.status.code, SpanStatusCode.ERROR);
});

test('the totals are the longest wait and all of the engine’s time', () => {
  const trace = new RequestTrace(undefined, beginning, true);
  assert.equal(trace.totals(), undefined);
  for (const [waitMs, engineMs] of [
    [3, 5],
    [7, 2],
  ] as const) {
    const times = trace.work('sign', 1) as WorkTimes;
    times.sentAtMs = times.queuedAtMs + 1;
    times.beganAtMs = times.queuedAtMs + waitMs;
    times.endedAtMs = times.beganAtMs + engineMs;
  }
  const { queueMs, engineMs } = trace.totals() as { queueMs: number; engineMs: number };
  assert.deepEqual([Math.round(queueMs), Math.round(engineMs)], [7, 7]);
});

test('the traceparent of a span is what W3C Trace Context writes', () => {
  const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
  const own = new RequestTrace(tracer, { ...beginning, traceparent }, false).traceparent ?? '';
  assert.match(own, /^00-0af7651916cd43dd8448eb211c80319c-[0-9a-f]{16}-01$/);
  assert.notEqual(own, traceparent);
});

test('what is run for a request that somebody looks at knows it, across awaits, and all else knows none', async () => {
  const names = { requestId: 'r', correlationId: undefined, traceparent: undefined };
  const trace = new RequestTrace(undefined, beginning, true);
  const request = { names: () => names, trace };
  const later = async () => {
    await new Promise((resolve) => setImmediate(resolve));
    return currentRequest();
  };
  assert.equal(await runTraced(request, later), request);
  assert.equal(await runTraced({ ...request, trace: undefined }, later), undefined);
  assert.equal(await runTraced(undefined, later), undefined);
});

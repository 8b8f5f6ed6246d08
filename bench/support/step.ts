import type { LoadRequest, LoadStream, PartResult, Quantiles, StreamResult } from '../load/plan.ts';
import { runLoad } from './load.ts';
import { floodNiceness } from './measure.ts';
import type { Target } from './target.ts';

/** Times after the start, in milliseconds: half of the peak, more than it, half again. */
export const stepTimes = {
  countedMs: 400,
  stepMs: 1_000,
  settledMs: 1_300,
  endMs: 2_300,
  calmMs: 2_350,
  overMs: 2_900,
};

/** Breakwater (OSDI 2020) is judged so. */
export const stepWindowMs = 20;

/** Of the peak, before and after the step. */
const calmShare = 0.5;

export interface Step {
  readonly requests: readonly LoadRequest[];
  readonly connections: number;
  /** Of the peak. */
  readonly times: number;
  readonly peakPerSecond: number;
  /** A small tenant beside it, with a generator of its own. */
  readonly beside?: readonly LoadRequest[];
}

/** So much of a window as is plotted. */
export interface StepWindow {
  readonly fromMs: number;
  /** Requests of flood and probe that were answered with 2xx. */
  readonly ok: number;
  /** Of the accepted. */
  readonly p95Ms: number;
}

/** One step of the load. */
export interface StepFigures {
  /** Requests that were answered with 2xx in the settled part of the step, of the peak. */
  readonly goodput: number;
  /** Requests that were sent in it, of the peak; the others were given up, as all connections waited. */
  readonly sent: number;
  /** Answers 504, of those that were let in. */
  readonly expired: number;
  /** Of accepted requests: before the step, in its first 300 ms, in the rest of it. */
  readonly beforeMs: Quantiles;
  readonly beginMs: Quantiles;
  readonly settledMs: Quantiles;
  /** After the end of the step, until windows have a p95 of at most twice that of before; undefined: not in half a second. */
  readonly backAfterMs: number | undefined;
  readonly windows: readonly StepWindow[];
  /** The small tenant in the settled part. */
  readonly besideMs?: Quantiles;
  readonly besideRefused?: number;
}

/**
 * Of the peak: asked of the same keys by a generator of its own at ordinary priority, whose latencies are the ones reported. The
 * flood's gets the processor when all others are done, and comes to answers tens of milliseconds after they are there.
 */
const probeShare = 0.05;
const probeConnections = 128;

/** A tenant of so few requests a second is nobody's flood. */
const besidePerSecond = 100;
const besideConnections = 64;

export async function runStep(target: Target, step: Step): Promise<StepFigures> {
  const { requests, connections, times, peakPerSecond, beside } = step;
  const probing = probeShare * peakPerSecond;
  const calm = calmShare * peakPerSecond - probing;
  const much = times * peakPerSecond - probing;
  const { countedMs, stepMs, settledMs, endMs, calmMs, overMs } = stepTimes;
  const stream = (
    name: string,
    rate: number,
    high: number,
    of: readonly LoadRequest[],
    over: number,
  ): LoadStream => ({
    name,
    connections: over,
    ratePerSecond: rate,
    laterRates: [
      { fromMs: stepMs, ratePerSecond: high },
      { fromMs: settledMs, ratePerSecond: high },
      { fromMs: endMs, ratePerSecond: rate },
      { fromMs: calmMs, ratePerSecond: rate },
    ],
    givesUp: true,
    windowMs: stepWindowMs,
    requests: of,
  });
  const plan = (streams: readonly LoadStream[]) => ({
    host: '127.0.0.1' as const,
    port: target.port,
    warmUpMs: countedMs,
    durationMs: overMs - countedMs,
    streams,
  });
  const flooding = runLoad(
    { ...plan([stream('flood', calm, much, requests, connections)]), niceness: floodNiceness },
    target.pid,
  );
  const probe = runLoad(plan([stream('probe', probing, probing, requests, probeConnections)]), target.pid);
  const small =
    beside === undefined
      ? undefined
      : await runLoad(
          plan([stream('beside', besidePerSecond, besidePerSecond, beside, besideConnections)]),
          target.pid,
        );
  const flood = (await flooding).streams[0] as StreamResult;
  const probed = (await probe).streams[0] as StreamResult;
  return {
    ...figuresOf(flood, probed, peakPerSecond),
    ...(small && besideOf(small.streams[0] as StreamResult)),
  };
}

/** The same without a flood. */
export async function runAlone(target: Target, requests: readonly LoadRequest[]): Promise<Quantiles> {
  const { streams } = await runLoad(
    {
      host: '127.0.0.1',
      port: target.port,
      warmUpMs: stepTimes.countedMs,
      durationMs: stepTimes.endMs - stepTimes.countedMs,
      streams: [{ name: 'beside', connections: besideConnections, ratePerSecond: besidePerSecond, requests }],
    },
    target.pid,
  );
  return (streams[0] as StreamResult).latencyMs;
}

type FivePhases = readonly [PartResult, PartResult, PartResult, PartResult, PartResult];

function figuresOf(flood: StreamResult, probe: StreamResult, peakPerSecond: number): StepFigures {
  const [, , asked] = flood.phases as unknown as FivePhases;
  const [before, begin, settled] = probe.phases as unknown as FivePhases;
  const peak = (peakPerSecond * (asked.toMs - asked.fromMs)) / 1000;
  const expired = (asked.statuses['504'] ?? 0) + (settled.statuses['504'] ?? 0);
  const ok = asked.ok + settled.ok;
  const windows = (probe.windows ?? []).map(({ fromMs, ok: ofProbe, latencyMs: { p95: p95Ms } }, n) => ({
    ...{ fromMs, p95Ms },
    ok: ofProbe + (flood.windows?.[n]?.ok ?? 0),
  }));
  return {
    goodput: ok / peak,
    sent: (asked.sent + settled.sent) / peak,
    expired: expired / Math.max(1, ok + expired),
    beforeMs: before.latencyMs,
    beginMs: begin.latencyMs,
    settledMs: settled.latencyMs,
    backAfterMs: backAfterMs(windows, before.latencyMs.p95),
    windows,
  };
}

function besideOf({ phases }: StreamResult): Pick<StepFigures, 'besideMs' | 'besideRefused'> {
  const settled = (phases as unknown as FivePhases)[2];
  const answers = Object.values(settled.statuses).reduce((sum, count) => sum + count, 0);
  return { besideMs: settled.latencyMs, besideRefused: 1 - settled.ok / Math.max(1, answers) };
}

/** A window may be above it by chance, as its p95 is that of a dozen answers: two in a row are not. */
function backAfterMs(windows: readonly StepWindow[], beforeMs: number): number | undefined {
  const after = windows.filter(({ fromMs }) => fromMs >= stepTimes.endMs);
  const calm = ({ p95Ms }: StepWindow) => p95Ms <= 2 * beforeMs;
  const first = after.findIndex((window, n) => calm(window) && calm(after[n + 1] ?? window));
  const window = after[first];
  return window === undefined ? undefined : window.fromMs - stepTimes.endMs;
}

import type { LoadPlan, LoadRequest, LoadStream, Quantiles, StreamResult } from '../load/plan.ts';
import type { Effort } from '../scenario.ts';
import { type MeasuredLoad, runLoad } from './load.ts';
import type { ServerAt } from './target.ts';

/** The outcome of one load on one server. */
export interface Figures {
  readonly offeredPerSecond: number;
  readonly okPerSecond: number;
  readonly refusedPerSecond: number;
  readonly latencyMs: Quantiles;
  /** The time that refusals took. */
  readonly refusalMs: Quantiles;
  /** CPU of the whole server, and of the thread that talks HTTP, for each answer. */
  readonly cpuUs: number;
  readonly mainThreadUs: number;
  /** Near 1, and the generator is what limits. */
  readonly generatorCpuShare: number;
  readonly statuses: Readonly<Record<string, number>>;
}

/** Enough to fill every job of a worker, few enough that nobody waits long. */
export const closedLoopConnections = 64;

/** The one of `counts` with which most is answered; `measure` is asked for each. */
export async function bestConnections(
  counts: readonly number[],
  measure: (connections: number) => Promise<Figures>,
): Promise<number> {
  let best = { connections: 0, okPerSecond: 0 };
  for (const connections of counts) {
    const { okPerSecond } = await measure(connections);
    if (okPerSecond > best.okPerSecond) best = { connections, okPerSecond };
  }
  return best.connections;
}

export interface Shape {
  readonly connections?: number;
  readonly niceness?: number;
}

/** Least favoured, see LoadPlan.niceness. */
export const floodNiceness = 19;

/** Each connection sends as soon as it has its answer: how much the server can do. */
export function closedLoop(
  effort: Timing,
  target: ServerAt,
  requests: readonly LoadRequest[],
  { connections = closedLoopConnections, niceness = 0 }: Shape = {},
): Promise<Figures> {
  return measure(effort, target, { name: 'closed', connections, ratePerSecond: 0, requests }, niceness);
}

/**
 * More than the product leaves unanswered at once for one tenant (512 wait in its queue): with fewer, the connections
 * would be what holds a flood back.
 */
export const openLoopConnections = 1_024;

/** Requests come when they are due, whatever the server does. */
export function openLoop(
  effort: Timing,
  target: ServerAt,
  requests: readonly LoadRequest[],
  ratePerSecond: number,
  { connections = openLoopConnections, niceness = 0 }: Shape = {},
): Promise<Figures> {
  return measure(effort, target, { name: 'open', connections, ratePerSecond, requests }, niceness);
}

type Timing = Pick<Effort, 'windowMs' | 'warmUpMs'>;

async function measure(
  effort: Timing,
  target: ServerAt,
  stream: LoadStream,
  niceness: number,
): Promise<Figures> {
  const load = await runLoad({ ...planOf(effort, target, [stream]), niceness }, target.pid);
  return figuresOf(load, load.streams[0] as StreamResult);
}

export function planOf(
  { windowMs, warmUpMs }: Timing,
  { port, via }: ServerAt,
  streams: readonly LoadStream[],
): LoadPlan {
  const at = via === undefined ? { port } : { port, via };
  return { host: '127.0.0.1', ...at, durationMs: windowMs, warmUpMs, streams };
}

export function figuresOf(load: MeasuredLoad, stream: StreamResult): Figures {
  return {
    offeredPerSecond: stream.sentPerSecond,
    okPerSecond: stream.okPerSecond,
    refusedPerSecond: stream.answeredPerSecond - stream.okPerSecond,
    latencyMs: stream.latencyMs,
    refusalMs: stream.refusalMs,
    cpuUs: load.serverCpuUsPerAnswer,
    mainThreadUs: load.server.mainThreadUs / load.server.answers,
    generatorCpuShare: load.generatorCpuShare,
    statuses: stream.statuses,
  };
}

/** A scenario that expects no refusals calls this: figures of refusals are no figures of signatures. Throws. */
export function mustAllSucceed({ statuses }: Figures, what: string): void {
  const others = Object.entries(statuses).filter(([status]) => !status.startsWith('2'));
  if (others.length > 0)
    throw new Error(`${what}: answers with ${others.map(([s, n]) => `${s} (${n})`).join(', ')}`);
}

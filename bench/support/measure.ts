import type { LoadPlan, LoadRequest, LoadStream, Quantiles, StreamResult } from '../load/plan.ts';
import type { Effort } from '../scenario.ts';
import { type MeasuredLoad, runLoad } from './load.ts';
import type { Target } from './target.ts';

/** What came of one load on one server. */
export interface Figures {
  readonly offeredPerSecond: number;
  readonly okPerSecond: number;
  readonly refusedPerSecond: number;
  readonly latencyMs: Quantiles;
  /** How long refusals took. */
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

/** Each connection sends as soon as it has its answer: how much the server can do. */
export async function closedLoop(
  effort: Effort,
  target: Target,
  requests: readonly LoadRequest[],
  connections = closedLoopConnections,
): Promise<Figures> {
  return measure(effort, target, { name: 'closed', connections, ratePerSecond: 0, requests });
}

/** More than any server here leaves unanswered at once, and less than what it lets in. */
export const openLoopConnections = 512;

/** Requests come when they are due, whatever the server does. */
export async function openLoop(
  effort: Effort,
  target: Target,
  requests: readonly LoadRequest[],
  ratePerSecond: number,
): Promise<Figures> {
  return measure(effort, target, { name: 'open', connections: openLoopConnections, ratePerSecond, requests });
}

async function measure(effort: Effort, target: Target, stream: LoadStream): Promise<Figures> {
  const load = await runLoad(planOf(effort, target, [stream]), target.pid);
  return figuresOf(load, load.streams[0] as StreamResult);
}

export function planOf(
  { windowMs, warmUpMs }: Pick<Effort, 'windowMs' | 'warmUpMs'>,
  { port }: Target,
  streams: readonly LoadStream[],
): LoadPlan {
  return { host: '127.0.0.1', port, durationMs: windowMs, warmUpMs, streams };
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

import { spawn } from 'node:child_process';
import { text } from 'node:stream/consumers';
import type { LoadPlan, LoadResult, ServerUse } from '../load/plan.ts';
import { type Generator, nodeGenerator } from './generator.ts';

export interface MeasuredLoad extends LoadResult {
  readonly server: ServerUse;
  /** CPU of the server process for each answer of whatever status, in microseconds. */
  readonly serverCpuUsPerAnswer: number;
}

/** Of all loads of this process; figures of two generators are not to be compared. */
let generatorInUse = nodeGenerator;

export function useGenerator(generator: Generator): void {
  generatorInUse = generator;
}

/** Runs the generator in a process of its own, and the server's CPU beside it. */
export async function runLoad(
  plan: LoadPlan,
  serverPid: number,
  { command, args }: Generator = generatorInUse,
): Promise<MeasuredLoad> {
  const child = spawn(command, args, {
    stdio: ['pipe', 'pipe', 'inherit'],
    // Options that slow or profile a server are not for the generator.
    env: { ...process.env, NODE_OPTIONS: '' },
  });
  // One that ends before it has read its plan is told of by its missing answer.
  child.stdin.on('error', () => {});
  child.stdin.end(JSON.stringify({ ...plan, serverPid } satisfies LoadPlan));
  const answer = await text(child.stdout);
  if (answer === '') throw new Error('the load generator ended without an answer');
  const result = JSON.parse(answer) as LoadResult;
  const server = result.server as ServerUse;
  return { ...result, server, serverCpuUsPerAnswer: server.cpuUs / server.answers };
}

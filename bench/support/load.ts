import { spawn } from 'node:child_process';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import type { LoadPlan, LoadResult } from '../load/plan.ts';
import { cpuUs } from './cpu.ts';

const generator = fileURLToPath(new URL('../load/generator.ts', import.meta.url));

export interface MeasuredLoad extends LoadResult {
  /** CPU of the server process for each answer of whatever status, in microseconds. */
  readonly serverCpuUsPerAnswer: number;
  readonly serverCpuUs: number;
}

/** Runs the generator in a process of its own, and the server's CPU beside it. */
export async function runLoad(plan: LoadPlan, serverPid: number): Promise<MeasuredLoad> {
  const child = spawn(process.execPath, [generator], { stdio: ['pipe', 'pipe', 'inherit'] });
  child.stdin.end(JSON.stringify(plan));
  const beforeUs = new Promise<number>((resolve) => setTimeout(() => resolve(cpuUs(serverPid)), plan.warmUpMs + connectMs));
  const afterUs = new Promise<number>((resolve) =>
    setTimeout(() => resolve(cpuUs(serverPid)), plan.warmUpMs + connectMs + plan.durationMs - tailMs),
  );
  const result = JSON.parse(await text(child.stdout)) as LoadResult;
  const serverCpuUs = (await afterUs) - (await beforeUs);
  const answered = result.streams.reduce((sum, stream) => sum + stream.answeredPerSecond, 0);
  const windowS = (plan.durationMs - tailMs) / 1000;
  return { ...result, serverCpuUs, serverCpuUsPerAnswer: serverCpuUs / (answered * windowS) };
}

/** Starting the generator and opening its connections takes about this long, and is not in the plan's times. */
const connectMs = 300;
/** CPU is read this much before the end, so that the window lies within the run. */
const tailMs = 300;

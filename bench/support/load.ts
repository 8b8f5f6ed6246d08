import { spawn } from 'node:child_process';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import type { LoadPlan, LoadResult, ServerUse } from '../load/plan.ts';

const generator = fileURLToPath(new URL('../load/generator.ts', import.meta.url));

export interface MeasuredLoad extends LoadResult {
  readonly server: ServerUse;
  /** CPU of the server process for each answer of whatever status, in microseconds. */
  readonly serverCpuUsPerAnswer: number;
}

/** Runs the generator in a process of its own, and the server's CPU beside it. */
export async function runLoad(plan: LoadPlan, serverPid: number): Promise<MeasuredLoad> {
  const child = spawn(process.execPath, [generator], {
    stdio: ['pipe', 'pipe', 'inherit'],
    // What slows or profiles a server is not for the generator.
    env: { ...process.env, NODE_OPTIONS: '' },
  });
  child.stdin.end(JSON.stringify({ ...plan, serverPid } satisfies LoadPlan));
  const result = JSON.parse(await text(child.stdout)) as LoadResult;
  const server = result.server as ServerUse;
  return { ...result, server, serverCpuUsPerAnswer: server.cpuUs / server.answers };
}

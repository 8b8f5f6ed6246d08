import { spawn } from 'node:child_process';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';

/** Microseconds of one core for the unwrapping of a DEK and 1 KiB under it: the median of many short samples. */
export interface UnderTimes {
  readonly engineEncryptUs: number;
  readonly engineDecryptUs: number;
  readonly nodeEncryptUs: number;
  readonly nodeDecryptUs: number;
}

const loop = fileURLToPath(new URL('../servers/under-loop.ts', import.meta.url));

/** The engine and node:crypto alone, in a process of their own. */
export async function timeUnder(windowMs: number): Promise<UnderTimes> {
  const child = spawn(process.execPath, [loop, String(windowMs)], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, NODE_OPTIONS: '' },
  });
  const answer = await text(child.stdout);
  if (answer === '') throw new Error('the loop ended without an answer');
  return JSON.parse(answer) as UnderTimes;
}

import { spawn } from 'node:child_process';
import { join } from 'node:path';

export interface Outcome {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

const program = join(import.meta.dirname, '..', '..', 'src', 'cli', 'main.ts');

/** Runs one command as a process of its own, with no setting from the environment of the tests. */
export async function intaglio(
  args: readonly string[],
  given: { readonly input?: string; readonly env?: Record<string, string>; readonly cwd?: string } = {},
): Promise<Outcome> {
  const child = spawn(process.execPath, [program, ...args], {
    env: { PATH: process.env.PATH, ...given.env },
    ...(given.cwd === undefined ? undefined : { cwd: given.cwd }),
  });
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    stdout += chunk;
  });
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
    stderr += chunk;
  });
  // A command that ends before it has read everything closes the pipe.
  child.stdin.on('error', () => undefined);
  child.stdin.end(given.input ?? '');
  const status = await new Promise<number | null>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', resolve);
  });
  return { status, stdout, stderr };
}

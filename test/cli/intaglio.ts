import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { compileCache } from '../support/compile-cache.ts';

export interface Outcome {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

const program = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));

/**
 * Runs one command on a thread of its own, where `process` has arguments, environment, streams and an exit status as in a
 * process; with no setting from the environment of the tests. Signals and the working directory are the tests' own.
 */
export async function intaglio(
  args: readonly string[],
  given: { readonly input?: string; readonly env?: Record<string, string> } = {},
): Promise<Outcome> {
  const thread = new Worker(program, {
    argv: [...args],
    env: { PATH: process.env.PATH, ...compileCache, ...given.env },
    // Flags of the test runner are not the command's.
    execArgv: [],
    // A stream that nobody reads would keep the thread.
    ...{ stdin: given.input !== undefined, stdout: true, stderr: true },
  });
  thread.stdin?.end(given.input);
  const ended = new Promise<number>((resolve, reject) => {
    thread.on('error', reject);
    thread.on('exit', resolve);
  });
  const [status, stdout, stderr] = await Promise.all([ended, text(thread.stdout), text(thread.stderr)]);
  return { status, stdout, stderr };
}

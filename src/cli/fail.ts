import { StartError } from '../core/start-error.ts';

/** Ends a command: what is wrong and what to do goes to standard error, so that standard output stays clean. */
export function fail(...lines: readonly string[]): never {
  return failWith(1, ...lines);
}

/** As above, for commands whose exit status says more than that they failed. */
export function failWith(status: number, ...lines: readonly string[]): never {
  for (const line of lines) process.stderr.write(`intaglio: ${line}\n`);
  process.exit(status);
}

/** What cannot be, a StartError, is one line for the operator. */
export async function refusing<T>(act: () => Promise<T>): Promise<T> {
  try {
    return await act();
  } catch (cause) {
    if (cause instanceof StartError) fail(cause.message);
    throw cause;
  }
}

/** As shells show a process that SIGPIPE ended: whoever reads has what it wanted. */
const brokenPipeStatus = 128 + 13;

/** One line for what the system refused (a full disk, no descriptor left); anything else is a bug, and thrown on. */
export function failBySystem(error: unknown): never {
  const { code, syscall, path } = error as NodeJS.ErrnoException;
  if (code === 'EPIPE') process.exit(brokenPipeStatus);
  // Node's loader tells of missing descriptors without the call.
  if (code === undefined || (syscall === undefined && code !== 'EMFILE')) throw error;
  return fail(`${[syscall, path].filter((part) => part !== undefined).join(' ')} failed: ${code}`);
}

/** For a command, whose writes to standard output can fail long after the call. */
export function failOnSystemErrors(): void {
  for (const stream of [process.stdout, process.stderr]) stream.on('error', failBySystem);
  process.on('uncaughtException', (error) => {
    process.off('uncaughtException', failBySystem);
    failBySystem(error);
  });
}

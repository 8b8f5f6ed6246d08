import type { Logger } from './log.ts';

/** Lines about a Unix socket that somebody removed or replaced, and that was bound again. */
export function tellOfSocket(log: Logger, path: string): (problem: string | undefined) => void {
  return (problem) => {
    if (problem === undefined) log.warn({ path }, 'the Unix socket is bound again');
    else
      log.error(
        { path, problem },
        'NOBODY CONNECTS BY THE UNIX SOCKET ANY MORE: it is bound again when nobody else has its path',
      );
  };
}

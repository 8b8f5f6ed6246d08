import type { LoadedConfig } from '../../config/load.ts';
import type { Server } from '../../main.ts';

/**
 * Reads the settings again on SIGHUP, which otherwise ends the process, from the sources of the start. A signal that comes before
 * the server is there counts then.
 */
export function reloadOnSignal(read: () => LoadedConfig): (server: Pick<Server, 'reload'>) => void {
  let server: Pick<Server, 'reload'> | undefined;
  let early = false;
  process.on('SIGHUP', () => {
    if (server === undefined) early = true;
    else server.reload(read());
  });
  return (started) => {
    server = started;
    if (early) started.reload(read());
  };
}

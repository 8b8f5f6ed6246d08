import { execFile } from 'node:child_process';
import type { Server, stopOnSignals } from '../../main.ts';
import type { Logger } from '../../observe/log.ts';

/** systemd-notify waits until the manager has read its datagram, which a busy machine may delay. */
const timeoutMs = 5_000;

/**
 * Tells the service manager (sd_notify(3)) by systemd-notify, which comes with it, because Node has no datagram sockets of the
 * file system. The unit needs NotifyAccess=all. Does nothing where NOTIFY_SOCKET is not set.
 * @param assignments such as `READY=1`
 * @param failed is called where the manager could not be told: it ends a service of Type=notify that never is ready.
 */
function notifyManager(assignments: readonly string[], failed: (cause: Error) => void): void {
  const { NOTIFY_SOCKET: socket, PATH: path } = process.env;
  if (socket === undefined || socket === '') return;
  const env = { NOTIFY_SOCKET: socket, ...(path === undefined ? undefined : { PATH: path }) };
  execFile('systemd-notify', [...assignments], { env, timeout: timeoutMs }, (cause) => {
    if (cause !== null) failed(cause);
  });
}

/**
 * Tells the service manager that a server serves, and when it begins to stop, as it does on signals. The result stops it for another
 * reason. `stopsOn` is main.ts's stopOnSignals, which commands load late.
 */
export function serveUntilStopped(
  server: Server,
  log: Logger,
  stopsOn: typeof stopOnSignals,
): ReturnType<typeof stopOnSignals> {
  const tell = (...assignments: string[]) =>
    notifyManager(assignments, (cause) => log.warn({ err: cause }, 'the service manager could not be told'));
  tell('READY=1', `STATUS=serves ${server.urls.join(' ')}`);
  return stopsOn(server, log, () => tell('STOPPING=1'));
}

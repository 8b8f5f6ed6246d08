import type { Socket } from 'node:net';

/** Of the process that connected, at the time when it did (unix(7)). */
export interface PeerCredentials {
  readonly uid: number;
  readonly gid: number;
}

/** Undefined where the kernel does not say. */
export type ReadPeerCredentials = (socket: Socket) => PeerCredentials | undefined;

/** As include/uapi/asm-generic/socket.h of Linux has them. */
const solSocket = 1;
const soPeerCred = 17;

/** Costs 55 us of CPU a connection. Undefined where koffi was not installed, or the system is not Linux. */
export async function openPeerCredentials(): Promise<ReadPeerCredentials | undefined> {
  if (process.platform !== 'linux') return undefined;
  try {
    const { default: koffi } = await import('koffi');
    const ucred = koffi.struct({ pid: 'int32_t', uid: 'uint32_t', gid: 'uint32_t' });
    const getsockopt = koffi
      .load(null)
      .func('getsockopt', 'int', [
        ...['int', 'int', 'int'],
        koffi.out(koffi.pointer(ucred)),
        koffi.inout(koffi.pointer('uint32_t')),
      ]);
    return (socket) => {
      const fd = descriptorOf(socket);
      if (fd === undefined) return undefined;
      const found: Partial<PeerCredentials> = {};
      if (getsockopt(fd, solSocket, soPeerCred, found, [ucredBytes]) !== 0) return undefined;
      const { uid, gid } = found;
      // (uid_t) -1: nobody is known (unix(7)).
      return uid === undefined || gid === undefined || uid === noUser ? undefined : { uid, gid };
    };
  } catch {
    return undefined;
  }
}

const ucredBytes = 12;
const noUser = 2 ** 32 - 1;

/** Node tells it nowhere else. */
function descriptorOf(socket: Socket): number | undefined {
  const fd = (socket as Socket & { _handle?: { fd?: number } })._handle?.fd;
  return fd !== undefined && fd >= 0 ? fd : undefined;
}

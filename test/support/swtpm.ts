import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { TpmClient } from '../../src/custody/tpm/client.ts';
import { tpmAlgorithms } from '../../src/custody/tpm/numbers.ts';
import { emptyPassword } from '../../src/custody/tpm/session.ts';
import { Writer } from '../../src/custody/tpm/wire.ts';

/** The reason to skip a test with a software TPM; false where it can run. */
export const noSwtpm: string | false = ['/usr/bin/swtpm', '/usr/local/bin/swtpm'].some((path) =>
  existsSync(path),
)
  ? false
  : 'swtpm is not installed: apt-get install swtpm';

/** A software TPM on a Unix socket in a directory of its own. */
export interface Swtpm {
  readonly socket: string;
  /** As sources and settings name it. */
  readonly tcti: string;
  /** A connection that ends behind `use`; swtpm takes one at a time. */
  use<T>(use: (client: TpmClient) => Promise<T>): Promise<T>;
  /** What a boot that was changed does to a PCR. */
  extend(pcr: number): Promise<void>;
  /** Takes the power away: whatever was not kept is lost. */
  stop(): Promise<void>;
  /** With its power back; PCRs are as at a boot. */
  start(): Promise<void>;
  /** Ends it and removes its directory. */
  remove(): Promise<void>;
}

const pcrExtend = 0x182;

export async function createSwtpm(): Promise<Swtpm> {
  const directory = mkdtempSync(join(tmpdir(), 'intaglio-swtpm-'));
  const state = join(directory, 'state');
  const socket = join(directory, 'tpm.sock');
  mkdirSync(state);
  let child: ChildProcess | undefined;
  const use = async <T>(does: (client: TpmClient) => Promise<T>): Promise<T> => {
    const client = await TpmClient.open({ socket });
    try {
      return await does(client);
    } finally {
      await client.close();
    }
  };
  const start = async () => {
    rmSync(socket, { force: true });
    child = spawn(
      'swtpm',
      [
        ...['socket', '--tpm2', '--tpmstate', `dir=${state}`, '--flags', 'not-need-init,startup-clear'],
        ...[
          '--server',
          `type=unixio,path=${socket},mode=0600`,
          '--ctrl',
          `type=unixio,path=${socket}.ctrl,mode=0600`,
        ],
      ],
      { stdio: 'ignore' },
    );
    while (!(await takesConnections(socket))) {
      if (child.exitCode !== null) throw new Error('swtpm has ended');
      await sleep(5);
    }
  };
  const stop = async () => {
    const ending = child;
    child = undefined;
    if (ending === undefined || ending.exitCode !== null) return;
    ending.kill();
    await once(ending, 'exit');
  };
  await start();
  return {
    ...{ socket, tcti: `swtpm:path=${socket}`, use, start, stop },
    extend: (pcr) =>
      use(async (client) => {
        await client.run({
          ...{ code: pcrExtend, handles: [{ handle: pcr, name: Buffer.alloc(0) }], by: emptyPassword },
          parameters: new Writer()
            .u32(1)
            .u16(tpmAlgorithms.sha256)
            .bytes(Buffer.alloc(32, pcr + 1))
            .done(),
        });
      }),
    async remove() {
      await stop();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

/** Its file is there before anybody listens. */
function takesConnections(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ path });
    socket.once('connect', () => socket.destroy());
    socket.once('error', () => {});
    socket.once('close', (failed) => resolve(!failed));
  });
}

/** A wire between us and the TPM that keeps what went over it, and may change it. */
export interface Tapped {
  readonly tcti: string;
  /** The same place, as a path. */
  readonly socket: string;
  /** All bytes of both ways so far. */
  readonly traffic: () => Buffer;
  /** Answers pass through this. */
  change: (answer: Buffer) => Buffer;
  close(): Promise<void>;
}

export async function tap({ socket }: Swtpm): Promise<Tapped> {
  const pieces: Buffer[] = [];
  const open = new Set<Socket>();
  const path = `${socket}.tap`;
  const server: Server = createServer((near) => {
    const far = connect({ path: socket });
    for (const end of [near, far]) {
      open.add(end);
      end.on('error', () => {});
      end.on('close', () => open.delete(end));
    }
    near.on('data', (piece) => {
      pieces.push(piece);
      far.write(piece);
    });
    far.on('data', (piece) => {
      pieces.push(piece);
      near.write(tapped.change(piece));
    });
    near.on('close', () => far.destroy());
    far.on('close', () => near.destroy());
  });
  server.listen(path);
  await once(server, 'listening');
  const tapped: Tapped = {
    tcti: `swtpm:path=${path}`,
    socket: path,
    traffic: () => Buffer.concat(pieces),
    change: (answer) => answer,
    async close() {
      for (const end of open) end.destroy();
      await new Promise((closed) => server.close(closed));
    },
  };
  return tapped;
}

import { type ChildProcess, fork } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  type Answered,
  type Asked,
  createGathered,
  type TokenAnswer,
  type TokenQuestion,
} from './protocol.ts';

/** A worker that says nothing for so long while something is asked of it hangs, in milliseconds: each operation has 2,000. */
const silenceLimitMs = 4_000;

/** The way in which a worker ended that said nothing for too long. */
export const moduleHangs = 'the module hangs';

/** The process with the module, as the home sees it. One that ended answers nothing more. */
export interface WorkerProcess {
  readonly alive: boolean;
  /** Rejects where the worker ends first, or says nothing to anybody for too long, in which case it is killed. */
  ask(asked: Asked, limitMs?: number): Promise<Answered>;
  /** Ends it: by itself, or after a while by force. */
  close(): Promise<void>;
}

export interface WorkerProcessOptions {
  readonly entry: URL;
  readonly allowCoreDumps: boolean;
  /** Of this process; the worker gets it as its own. */
  readonly pinDescriptor?: number | undefined;
  /** Operations at a time: each takes a thread of libuv's pool. */
  readonly sessions: number;
  /** The variables that the module finds: those of the service's settings are left out. */
  readonly environment: NodeJS.ProcessEnv;
  /** It ended, not by `close`. */
  readonly onEnd: (how: string) => void;
}

interface Asking {
  readonly resolve: (answered: Answered) => void;
  readonly reject: (cause: Error) => void;
  readonly limit: NodeJS.Timeout;
}

/** libuv's own work beside the operations. */
const spareThreads = 2;

/** Throws as spawn does. */
export function startWorkerProcess(options: WorkerProcessOptions): WorkerProcess {
  const child = spawnWorker(options);
  const asking = new Map<number, Asking>();
  let last = 0;
  let ended: string | undefined;
  let closing = false;
  const end = (how: string) => {
    if (ended !== undefined) return;
    ended = how;
    for (const { reject, limit } of asking.values()) {
      clearTimeout(limit);
      reject(new Error(how));
    }
    asking.clear();
    if (!closing) options.onEnd(how);
  };
  child.on('exit', (code, signal) => end(`the worker ended (${signal ?? code})`));
  child.on('error', () => end('the worker cannot be started'));
  child.on('message', (message) => {
    for (const { id, answered } of message as readonly TokenAnswer[]) {
      const waiting = asking.get(id);
      if (waiting === undefined) continue;
      asking.delete(id);
      clearTimeout(waiting.limit);
      waiting.resolve(answered);
    }
  });
  const sending = createGathered<TokenQuestion>((questions) => {
    if (ended !== undefined) return;
    child.send(questions, (error) => {
      if (error !== null) end('the worker cannot be reached');
    });
  });
  return {
    get alive() {
      return ended === undefined;
    },
    ask(asked, limitMs = silenceLimitMs) {
      if (ended !== undefined) return Promise.reject(new Error(ended));
      const id = ++last;
      return new Promise<Answered>((resolve, reject) => {
        const limit = setTimeout(() => {
          // Its own limits are shorter: a call of the module holds its main thread.
          child.kill('SIGKILL');
          end(moduleHangs);
        }, limitMs);
        asking.set(id, { resolve, reject, limit });
        sending.add({ id, asked }, false);
      });
    },
    async close() {
      closing = true;
      if (ended !== undefined) return;
      const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()));
      if (child.connected) child.disconnect();
      const inTime = await Promise.race([
        exited.then(() => true),
        sleep(closeLimitMs, false, { ref: false }),
      ]);
      if (!inTime) {
        child.kill('SIGKILL');
        await exited;
      }
    },
  };
}

/** C_Finalize of a token that answers takes milliseconds. */
const closeLimitMs = 2_000;

function spawnWorker({
  entry,
  allowCoreDumps,
  environment,
  pinDescriptor,
  sessions,
}: WorkerProcessOptions): ChildProcess {
  return fork(entry, allowCoreDumps ? ['allow-core-dumps'] : [], {
    serialization: 'advanced',
    env: { ...withoutOurs(environment), UV_THREADPOOL_SIZE: String(sessions + spareThreads) },
    // Flags of the service are for its own load; a worker needs none.
    execArgv: ['--disable-sigusr1', '--max-semi-space-size=1'],
    stdio: ['ignore', 'ignore', 'inherit', 'ipc', pinDescriptor ?? 'ignore'],
  });
}

/** Modules read variables of their own; none of the service's. */
function withoutOurs(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(
    Object.entries(env).filter(([name]) => !/^(RON_)?KMS_|^NODE_OPTIONS$|^UV_THREADPOOL_SIZE$/.test(name)),
  );
}

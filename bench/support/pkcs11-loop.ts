import { fork } from 'node:child_process';
import { once } from 'node:events';
import type { Scheme } from '../../src/algorithms/ids.ts';

export interface Pkcs11LoopTask {
  readonly keyLabel: string;
  readonly scheme: Scheme;
  readonly windowMs: number;
}

export interface Pkcs11LoopAnswer {
  readonly perSecond: number;
}

export interface Pkcs11Loop {
  count(task: Pkcs11LoopTask): Promise<Pkcs11LoopAnswer>;
  stop(): void;
}

/** The comparator, in a process of its own as the worker of the service is, with as many threads of libuv. */
export async function startPkcs11Loop(
  module: string,
  label: string,
  pin: string,
  sessions: number,
): Promise<Pkcs11Loop> {
  const entry = new URL('../servers/pkcs11-loop.ts', import.meta.url);
  const child = fork(entry, [module, label, pin, String(sessions)], {
    env: { ...process.env, UV_THREADPOOL_SIZE: String(sessions + 2) },
    execArgv: [],
  });
  await once(child, 'message');
  return {
    async count(task) {
      child.send(task);
      const [answer] = (await once(child, 'message')) as [Pkcs11LoopAnswer];
      return answer;
    },
    stop: () => child.disconnect(),
  };
}

import { Connection, wire } from '../load/connection.ts';
import type { LoadRequest } from '../load/plan.ts';
import type { ServerAt } from './target.ts';

/** Enough to keep a server busy, few enough to stay within every bound of it. */
const connectionsOfMany = 32;

/** A server of this machine: its port, or where it listens otherwise. */
type At = number | Pick<ServerAt, 'port' | 'via'>;

/**
 * Sends all requests over keep-alive connections and gives their answers, in order, as parsed JSON: for preparing
 * what a scenario needs, not for measuring. Throws at the first answer that is not 2xx.
 */
export async function askAll(
  at: At,
  requests: readonly LoadRequest[],
  onProgress: (done: number) => void = () => {},
): Promise<unknown[]> {
  const host = '127.0.0.1';
  const { port, via } = typeof at === 'number' ? { port: at, via: undefined } : at;
  const answers = new Array<unknown>(requests.length);
  let next = 0;
  let done = 0;
  const lanes = Array.from({ length: Math.min(connectionsOfMany, requests.length) }, async () => {
    let settle: { resolve: (body: Buffer) => void; reject: (cause: Error) => void } | undefined;
    const connection = new Connection({ host, port, via, keepBodies: true }, (_, { status, body }) => {
      if (status >= 200 && status < 300) settle?.resolve(body);
      else settle?.reject(new Error(`the server answered ${status}: ${body.toString('utf8', 0, 500)}`));
    });
    await connection.open();
    try {
      while (next < requests.length) {
        const index = next++;
        const body = await new Promise<Buffer>((resolve, reject) => {
          settle = { resolve, reject };
          connection.send(wire(requests[index] as LoadRequest, { host, port }), 0);
        });
        answers[index] = JSON.parse(body.toString('utf8'));
        onProgress(++done);
      }
    } finally {
      connection.close();
    }
  });
  await Promise.all(lanes);
  return answers;
}

export async function ask<T>(at: At, request: LoadRequest): Promise<T> {
  const [answer] = await askAll(at, [request]);
  return answer as T;
}

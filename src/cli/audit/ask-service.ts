import { readFileSync } from 'node:fs';
import { fail } from '../fail.ts';

/** An answer takes checkpoints of the log: two signatures and a few fdatasyncs each. */
const timeoutMs = 30_000;

export interface ServiceAnswer {
  readonly status: number;
  /** The body with one line feed behind it. */
  readonly text: string;
}

/** POST with a body, GET without one, of a running service; ends the command where that does not answer 2xx. */
export async function askService(
  url: string,
  path: string,
  tokenFile: string,
  body?: unknown,
): Promise<ServiceAnswer> {
  let token: string;
  try {
    token = readFileSync(tokenFile, 'utf8').trim();
  } catch (error) {
    fail(`cannot read ${tokenFile}: ${(error as NodeJS.ErrnoException).code}`);
  }
  let response: Response;
  try {
    response = await fetch(`${url.replace(/\/+$/, '')}${path}`, {
      ...(body === undefined ? { method: 'GET' } : { method: 'POST', body: JSON.stringify(body) }),
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      redirect: 'error',
      signal: AbortSignal.timeout(timeoutMs),
    });
  } catch {
    fail(`no answer from ${url}`, 'the service has to run');
  }
  const text = await response.text();
  if (!response.ok) fail(`${url} answers ${response.status}: ${text.slice(0, 500)}`);
  return { status: response.status, text: `${text.trimEnd()}\n` };
}

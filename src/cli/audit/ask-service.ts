import { readFileSync } from 'node:fs';
import { fail } from '../fail.ts';
import { exchangeWith, type ServiceAddress, type ServiceAnswer, shownUrl } from '../service-client.ts';

/** An answer takes checkpoints of the log: two signatures and a few fdatasyncs each. */
const timeoutMs = 30_000;

/**
 * POST with a body, GET without one, of a running service; ends the command where that does not answer 2xx. The text has one line
 * feed behind it.
 */
export async function askService(
  address: ServiceAddress,
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
  const headers = { authorization: `Bearer ${token}` };
  const { status, text } = await exchangeWith(address, { path, timeoutMs, headers, body });
  if (status < 200 || status >= 300) fail(`${shownUrl(address)} answers ${status}: ${text.slice(0, 500)}`);
  return { status, text: `${text.trimEnd()}\n` };
}

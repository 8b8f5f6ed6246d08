import { Command, InvalidArgumentError } from 'commander';
import { failWith } from './fail.ts';

/** A probe that waits longer has its answer: container runtimes give one a few seconds. */
const timeoutMs = 3_000;

/** The service answers, and says that it is not ready. 1 is for everything that kept the command from asking. */
const notReadyStatus = 3;

/** An answer of either route is a few hundred bytes. */
const maxShownCharacters = 1_000;

interface Options {
  url: URL;
  live?: boolean;
}

/** `health`: asks a running service, needs no capability and no setting. */
export function healthCommand(): Command {
  return new Command('health')
    .description('ask a running service whether it is ready; for health checks of containers')
    .option('--url <url>', 'the running service', urlOf, new URL('http://127.0.0.1:7441'))
    .option('--live', 'ask only whether it answers at all (/healthz instead of /readyz)')
    .addHelpText(
      'after',
      `
Exit status: 0 ready (with --live: it answers); 1 no answer; 3 it answers and is not ready, and says what is missing.

Example:
  npm run -s intaglio -- health --url http://127.0.0.1:7441`,
    )
    .action(askHealth);
}

function urlOf(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url?.protocol !== 'http:' && url?.protocol !== 'https:') {
    throw new InvalidArgumentError('give http://host:port or https://host:port');
  }
  return url;
}

async function askHealth({ url, live }: Options): Promise<void> {
  const asked = new URL(live === true ? '/healthz' : '/readyz', url);
  let response: Response;
  let text: string;
  try {
    response = await fetch(asked, { redirect: 'error', signal: AbortSignal.timeout(timeoutMs) });
    text = (await response.text()).slice(0, maxShownCharacters);
  } catch {
    failWith(1, `no answer from ${asked.origin}`);
  }
  if (response.status === 503) failWith(notReadyStatus, `not ready: ${text}`);
  if (!response.ok) failWith(1, `${asked.href} answers ${response.status}`);
  process.stdout.write(`${text}\n`);
}

import { Command } from 'commander';
import { ownCommand } from '../core/own-package.ts';
import { failWith } from './fail.ts';
import { exchangeWith, type ServiceAddress, shownUrl, withServiceAddress } from './service-client.ts';

/** A probe that waits longer has its answer: container runtimes give one a few seconds. */
const timeoutMs = 3_000;

/** The service answers, and says that it is not ready. 1 is for everything that kept the command from asking. */
const notReadyStatus = 3;

/** An answer of either route is a few hundred bytes. */
const maxShownCharacters = 1_000;

interface Options extends ServiceAddress {
  live?: boolean;
}

/** `health`: asks a running service, needs no capability and no setting. */
export function healthCommand(): Command {
  const command = new Command('health').description(
    'ask a running service whether it is ready; for health checks of containers',
  );
  return withServiceAddress(command)
    .option('--live', 'ask only whether it answers at all (/healthz instead of /readyz)')
    .addHelpText(
      'after',
      `
Exit status: 0 ready (with --live: it answers); 1 no answer; 3 it answers and is not ready, and says what is missing.

Examples:
  ${ownCommand} health --url http://127.0.0.1:7441
  ${ownCommand} health --url unix:/run/intaglio/kms.sock
  ${ownCommand} health --url https://127.0.0.1:7443 --server-name kms.example --ca ca.pem --cert probe.pem --key probe.key`,
    )
    .action(askHealth);
}

async function askHealth({ live, ...address }: Options): Promise<void> {
  const path = live === true ? '/healthz' : '/readyz';
  const answer = await exchangeWith(address, { path, timeoutMs });
  const text = answer.text.slice(0, maxShownCharacters);
  if (answer.status === 503) failWith(notReadyStatus, `not ready: ${text}`);
  if (answer.status !== 200) failWith(1, `${shownUrl(address)}${path} answers ${answer.status}`);
  process.stdout.write(`${text}\n`);
}

import { readFileSync } from 'node:fs';
import { Command } from 'commander';
import { fail } from '../fail.ts';

interface Options {
  reason: string;
  approver?: string[];
  url: string;
  tokenFile: string;
}

/** Starting an epoch takes a checkpoint: two signatures and a few fdatasyncs. */
const timeoutMs = 30_000;

export function acceptCommand(): Command {
  return new Command('accept')
    .description(
      'after an integrity failure: accept the loss, and start the next epoch of the log under a new origin',
    )
    .requiredOption('--reason <text>', 'why, for the record that begins the epoch; at most 500 characters')
    .option(
      '--approver <name>',
      'who approves; at least two different ones',
      (name: string, before: string[] | undefined) => [...(before ?? []), name],
    )
    .option('--url <url>', 'the running service', 'http://127.0.0.1:7441')
    .requiredOption('--token-file <file>', 'a file with a capability for kms:admin')
    .addHelpText(
      'after',
      `
The old epoch stays as it is, for whoever looks into it. The new one's first record has its origin, size, root and the
hash of the evidence. Make sure that both epochs' checkpoints reach the people who verify the log.

Example:
  npm run -s intaglio -- audit accept --reason "disk replaced, ticket 4711" --approver alice --approver bob --token-file admin.token`,
    )
    .action(accept);
}

async function accept({ reason, approver = [], url, tokenFile }: Options): Promise<void> {
  if (new Set(approver).size < 2) fail('two different approvers are needed: --approver alice --approver bob');
  let token: string;
  try {
    token = readFileSync(tokenFile, 'utf8').trim();
  } catch (error) {
    fail(`cannot read ${tokenFile}: ${(error as NodeJS.ErrnoException).code}`);
  }
  let response: Response;
  try {
    response = await fetch(`${url.replace(/\/+$/, '')}/v1/kms/audit/accept`, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      body: JSON.stringify({ reason, approvers: approver }),
      redirect: 'error',
      signal: AbortSignal.timeout(timeoutMs),
    });
  } catch {
    fail(`no answer from ${url}`, 'the service has to run: it keeps the keys that sign the new epoch');
  }
  const text = await response.text();
  if (!response.ok) fail(`${url} answers ${response.status}: ${text.slice(0, 500)}`);
  process.stdout.write(`${text.trimEnd()}\n`);
}

import { Command } from 'commander';
import { type CallReceipt, type VerifiedReceipt, verifyReceipt } from '../../client/receipts.ts';
import { failWith } from '../fail.ts';
import { type Trusting, trustedBy, trusting } from './attest.ts';
import { fileBytes, line, put } from './files.ts';
import { endsWithTwo, exitStatus, wrongUse } from './service.ts';

interface Asked extends Trusting {
  readonly tenant?: string;
  readonly json?: boolean;
}

/** `receipt verify`. */
export function receiptCommand(): Command {
  return new Command('receipt')
    .description('receipts of calls (docs/receipts.md)')
    .addCommand(verifyReceiptCommand());
}

function verifyReceiptCommand(): Command {
  return trusting(
    endsWithTwo(
      new Command('verify').description('verify receipts with no service; exit status 1 if one is not valid'),
    ),
  )
    .argument('<file>', 'a receipt, or a page of them, as the service gave it; - for standard input')
    .option('--tenant <name>', 'the tenant that they have to be of')
    .option('--json', 'the receipts as JSON, one a line')
    .addHelpText(
      'after',
      `
Exit status: 0 all are valid; 1 one is not; 2 wrong use.

Example:
  intaglio receipt verify receipt.json --keys audit.vkeys`,
    )
    .action(async (file: string, { tenant, json = false, ...options }: Asked) => {
      if (options.keys === undefined) return wrongUse('--keys is required');
      const expected = { keys: (await trustedBy(options)).keys, ...(tenant === undefined ? {} : { tenant }) };
      const verdicts = (await receiptsIn(file)).map((receipt) => verifyReceipt(receipt, expected));
      const faults = verdicts.flatMap((verdict, at) =>
        verdict.ok ? [] : [`receipt ${at + 1} of ${verdicts.length} is not valid: ${verdict.reason}`],
      );
      if (faults.length > 0) failWith(exitStatus.refused, ...faults);
      for (const { receipt } of verdicts.filter((verdict) => isValid(verdict)))
        put(undefined, json ? line(receipt) : `${inWords(receipt)}\n`);
    });
}

function isValid(verdict: VerifiedReceipt): verdict is VerifiedReceipt & { readonly ok: true } {
  return verdict.ok;
}

async function receiptsIn(file: string): Promise<readonly unknown[]> {
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(await fileBytes(file)).toString('utf8'));
  } catch {
    return wrongUse(`${file} is not JSON`);
  }
  const { receipts } = (value ?? {}) as { readonly receipts?: unknown };
  return Array.isArray(receipts) ? receipts : [value];
}

function inWords({
  receipt_id: id,
  ts,
  operation,
  tenant_id: tenant,
  kms_context: context,
  audit,
}: CallReceipt) {
  const { success, error_code: error, key_id: key } = context;
  const outcome = success ? 'done' : `refused: ${error}`;
  const about = key === null ? '' : ` with ${key}`;
  return `valid: ${id}, ${ts}, ${operation} of ${tenant}${about}, ${outcome}; record ${audit.index} of ${audit.origin}`;
}

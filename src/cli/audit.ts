import { Command } from 'commander';
import { exportCommand } from './audit/export.ts';
import { proveCommand } from './audit/prove.ts';
import { tailCommand } from './audit/tail.ts';
import { verifyCommand } from './audit/verify.ts';

/** `audit verify`, `audit export`, `audit prove`, `audit tail`. */
export function auditCommand(): Command {
  return new Command('audit')
    .description('read and check the audit log: a Merkle tree that tools of others can verify too')
    .addCommand(verifyCommand())
    .addCommand(exportCommand())
    .addCommand(proveCommand())
    .addCommand(tailCommand())
    .addHelpText('after', '\nHow to check a log without this program: docs/audit-verify.md');
}

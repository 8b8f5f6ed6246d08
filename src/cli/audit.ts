import { Command } from 'commander';
import { acceptCommand } from './audit/accept.ts';
import { archiveCommand } from './audit/archive.ts';
import { exportCommand } from './audit/export.ts';
import { proveCommand } from './audit/prove.ts';
import { rotateKeysCommand } from './audit/rotate-keys.ts';
import { scrubCommand } from './audit/scrub.ts';
import { tailCommand } from './audit/tail.ts';
import { verifyCommand } from './audit/verify.ts';

/** `audit verify`, `audit export`, `audit prove`, `audit tail`, `audit scrub`, `audit archive`, `audit accept`, `audit rotate-keys`. */
export function auditCommand(): Command {
  return new Command('audit')
    .description('read and check the audit log: a Merkle tree that tools of others can verify too')
    .addCommand(verifyCommand())
    .addCommand(exportCommand())
    .addCommand(proveCommand())
    .addCommand(tailCommand())
    .addCommand(scrubCommand())
    .addCommand(archiveCommand())
    .addCommand(acceptCommand())
    .addCommand(rotateKeysCommand())
    .addHelpText('after', '\nHow to check a log without this program: docs/audit-verify.md');
}

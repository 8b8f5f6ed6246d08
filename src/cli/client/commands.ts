import type { Command } from 'commander';
import { attestCommand } from './attest.ts';
import { keysCommand } from './keys.ts';
import { decryptCommand, deriveCommand, encryptCommand, unwrapCommand, wrapCommand } from './sealing.ts';
import { signCommand, verifyFileCommand } from './signatures.ts';
import { statusCommand } from './status.ts';

/** The commands that use a service as its clients do. */
export function clientCommands(): readonly Command[] {
  return [
    keysCommand(),
    signCommand(),
    verifyFileCommand(),
    encryptCommand(),
    decryptCommand(),
    wrapCommand(),
    unwrapCommand(),
    deriveCommand(),
    attestCommand(),
    statusCommand(),
  ];
}

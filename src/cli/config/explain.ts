import { Command } from 'commander';
import { type FieldName, fieldNames, fields, flagOf, memberOf } from '../../config/fields.ts';
import type { Kind } from '../../config/kinds.ts';
import { didYouMean, spelled } from '../../config/spellings.ts';
import { ownCommand } from '../../core/own-package.ts';
import { fail } from '../fail.ts';
import { processSettings } from '../settings.ts';

export function explainCommand(): Command {
  return new Command('explain')
    .description('say what one setting means, what it may be, and what it comes to here')
    .argument('<setting>', 'as a variable, a flag or a member of a file: KMS_BIND, --bind, bind')
    .argument('[settings...]', 'flags as serve takes them')
    .allowUnknownOption()
    .addHelpText('after', `\nExample:\n  ${ownCommand} config explain KMS_SIGN_RATE_LIMIT`)
    .action((setting: string, flags: string[]) => {
      const name = spelled(setting);
      if (name === undefined) {
        const known = fieldNames.flatMap((field) => [fields[field].variable, flagOf(field), memberOf(field)]);
        fail(`there is no setting of this name${didYouMean(setting, known)}`);
      }
      process.stdout.write(explained(name, flags));
    });
}

function explained(name: FieldName, flags: readonly string[]): string {
  const { variable, kind, standardText, meaning, change } = fields[name];
  const loaded = processSettings(flags);
  // A setting can be looked up where others are wrong.
  const here = loaded.ok
    ? `${(kind as Kind<unknown>).format(loaded.config[name])}  (${loaded.origins[name]})`
    : 'not settled: config check says what is wrong with the settings here';
  const lines = [
    ['setting', `${variable}, ${flagOf(name)}, ${memberOf(name)} in a file`],
    ['accepts', kind.accepts],
    ['default', standardText],
    ['here', here],
    ['takes effect', change === 'reload' ? 'at a reload (SIGHUP) or the next start' : 'at the next start'],
  ];
  return `${lines.map(([label = '', text]) => `${label.padEnd(14)}${text}\n`).join('')}\n${meaning}\n`;
}

import { Command } from 'commander';
import { type FieldName, fieldNames, fields, flagOf, memberOf } from '../config/fields.ts';
import type { Kind } from '../config/kinds.ts';
import type { LoadedConfig } from '../config/load.ts';
import { explainCommand } from './config/explain.ts';
import { migrateCommand } from './config/migrate.ts';
import { settingsOrFail } from './settings.ts';

type Settings = Extract<LoadedConfig, { ok: true }>;

/** `config print`, `config check` and `config explain` take the flags that `serve` takes; `config migrate` takes a file. */
export function configCommand(): Command {
  const print = new Command('print')
    .description('show every setting as a JSON object that --config accepts, or where each comes from')
    .option(
      '--origins',
      'one line a setting: its value, and whether flag, environment, credential, file, profile or default gave it',
    )
    .action((flags: string[], options: { origins?: boolean }) => {
      const settings = settingsOrFail(flags);
      process.stdout.write(options.origins === true ? originLines(settings) : fileText(settings));
    });
  const check = new Command('check')
    .description('say whether the service would start with these settings; exit status 1 when not')
    .action((flags: string[]) => {
      settingsOrFail(flags);
      process.stdout.write('the configuration is valid\n');
    });
  for (const command of [print, check]) {
    command
      .argument('[settings...]', 'flags as serve takes them, such as --bind 127.0.0.1:0')
      // The settings' own parser refuses what is unknown, with the nearest name.
      .allowUnknownOption()
      .addHelpText(
        'after',
        () =>
          `\nSettings (flag, variable; a file's member is the variable without KMS_, in small letters):\n${flagLines()}`,
      );
  }
  return new Command('config')
    .description(
      'show, check, explain or migrate the settings; flags win over environment, credentials, file, profile and default',
    )
    .addCommand(print)
    .addCommand(check)
    .addCommand(explainCommand())
    .addCommand(migrateCommand());
}

/** A field's `format` takes exactly what its `parse` gives, which no type can say once the names are in a loop. */
function textOf(name: FieldName, settings: Settings): string {
  return (fields[name].kind as Kind<unknown>).format(settings.config[name]);
}

function fileText(settings: Settings): string {
  const members: Record<string, unknown> = {};
  for (const name of fieldNames) {
    // Amnesia mode has no root key file and refuses one, as a descriptor does.
    if (name === 'rootKeyFile' && (settings.config.amnesia || settings.config.rootKeyFd !== 0)) continue;
    // A directory for no log is refused.
    if (name === 'auditDir' && settings.config.audit === 'off') continue;
    // Two forms of one setting.
    if (name === (settings.origins.listen === 'default' ? 'listen' : 'bind')) continue;
    const value = settings.config[name];
    // A list of algorithms is a list in JSON too; other settings with a form of their own are their text.
    const plain = typeof value !== 'object' || name === 'allowedAlgs';
    members[memberOf(name)] = plain ? value : textOf(name, settings);
  }
  return `${JSON.stringify(members, null, 2)}\n`;
}

function originLines(settings: Settings): string {
  const width = Math.max(...fieldNames.map((name) => fields[name].variable.length));
  return fieldNames
    .map(
      (name) =>
        `${fields[name].variable.padEnd(width)}  ${textOf(name, settings)}  (${settings.origins[name]})\n`,
    )
    .join('');
}

function flagLines(): string {
  return fieldNames
    .map(
      (name) =>
        `  ${flagOf(name)}, ${fields[name].variable}: ${fields[name].kind.accepts} [${fields[name].standardText}]`,
    )
    .join('\n');
}

import { Command } from 'commander';
import { refusing } from './fail.ts';
import { Progress } from './progress.ts';
import { configOf, type DataDirOption, dataDirOf } from './root/common.ts';
import type { JoinedFrom } from './root/join.ts';
import { collect, type SourceOptions, wantedSource, withSourceOptions } from './root/options.ts';
import type { Bench } from './root/stopped-directory.ts';
import { tpmCommand } from './root/tpm-command.ts';
import { type ServiceAddress, withServiceAddress } from './service-client.ts';

type Asked = DataDirOption & ServiceAddress & { readonly tokenFile?: string };

/** `root`: the key under which all others are sealed, its sources and its rotation. */
export function rootCommand(): Command {
  const source = new Command('source')
    .description('sources of the root key, any of which opens it')
    .addCommand(addCommand())
    .addCommand(removeCommand())
    .addCommand(listCommand());
  return new Command('root')
    .description('the root key, under which all keys are sealed: its sources and its rotation')
    .addCommand(initCommand())
    .addCommand(statusCommand())
    .addCommand(rotateCommand())
    .addCommand(splitCommand())
    .addCommand(joinCommand())
    .addCommand(tpmCommand())
    .addCommand(source);
}

function initCommand(): Command {
  return dataDirOf(
    withSourceOptions(new Command('init').description('make the root key of a new data directory'), 'file'),
  )
    .addHelpText(
      'after',
      `
A first start makes a raw file by itself; this is for all other kinds. docs/root-keys.md says what each takes.

Example:
  npm run -s intaglio -- root init --kind passphrase --passphrase-file /run/secrets/root-passphrase`,
    )
    .action((options: SourceOptions & DataDirOption) =>
      onDirectory(options, async (bench) => {
        const file = options.file ?? bench.config.rootKeyFile;
        const { initRoot } = await import('./root/acts.ts');
        await initRoot(bench, wantedSource({ ...options, file }, bench.config), options.id);
      }),
    );
}

function statusCommand(): Command {
  return asking(
    new Command('status').description('the root key, which of its sources open, and when that was last seen'),
  )
    .addHelpText(
      'after',
      `
Of a service that is stopped every source is tried, as a start would. One that runs says what it was opened by, and how far a
rotation is.

Exit status: 0 every source opens that needs nobody; 1 the command could not be carried out; 2 a source does not open.

Examples:
  npm run -s intaglio -- root status
  npm run -s intaglio -- root status --token-file data/bootstrap.token`,
    )
    .action(async (options: Asked) => {
      if (options.tokenFile !== undefined) return showRunning(options, options.tokenFile);
      await onDirectory(options, async (bench) => {
        const { inWords, rootStatus } = await import('./root/status.ts');
        const { generation, root, rotating, sources } = await rootStatus(bench);
        bench.say(`root key ${root}, generation ${generation}${rotating ? '; a rotation is under way' : ''}`);
        for (const { id, kind, place, opens, checkedBeforeMs } of sources) {
          const seen =
            checkedBeforeMs === undefined ? 'never before' : new Date(checkedBeforeMs).toISOString();
          const judged = `${typeof opens === 'object' ? 'DOES NOT OPEN: ' : ''}${inWords(opens)}`;
          bench.say(`  ${id} (${kind}, ${place}): ${judged}; last checked ${seen}`);
        }
        if (sources.some(({ opens }) => typeof opens === 'object')) process.exitCode = 2;
      });
    });
}

async function showRunning(address: ServiceAddress, tokenFile: string): Promise<void> {
  const { askService } = await import('./audit/ask-service.ts');
  const { text } = await askService(address, '/v1/kms/admin/root', tokenFile);
  process.stdout.write(text);
}

function rotateCommand(): Command {
  return asking(
    new Command('rotate').description('replace the root key: every record is sealed anew under another one'),
  )
    .addHelpText(
      'after',
      `
Every source takes the new key. A rotation that is killed goes on where it was, by this command or by the next start. A backup
that was made before opens with the key before only: of a raw file it stays beside it, as root.key.retired-<generation>.

Examples:
  npm run -s intaglio -- root rotate                                       a service that is stopped
  npm run -s intaglio -- root rotate --token-file data/bootstrap.token     one that goes on signing`,
    )
    .action(async (options: Asked) => {
      if (options.tokenFile !== undefined) {
        const { rotateRunning } = await import('./root/rotate-running.ts');
        return rotateRunning(options, options.tokenFile);
      }
      await onDirectory(options, async (bench) => {
        const progress = new Progress('sealing anew', 'records');
        const [{ rotateStopped }, { offlineActor }] = await Promise.all([
          import('./root/rotate-stopped.ts'),
          import('../assemble/offline-acts.ts'),
        ]);
        await rotateStopped(bench, offlineActor(), (done, total) => progress.at(done, total));
        progress.end();
      });
    });
}

function splitCommand(): Command {
  return dataDirOf(
    new Command('split')
      .description(
        'split the root key into shares, each encrypted to an officer: a way back in without the other sources',
      )
      .requiredOption('--threshold <k>', 'so many shares are needed', (text) => Number(text))
      .option('--recipient <age1...>', 'the age key of an officer; once for each', collect, [])
      .requiredOption('--out <directory>', 'share-<n>.age are written here, for the n-th officer')
      .option('--id <name>', 'its name in the list (default: shares)')
      .option('--prove-with <identity file>', 'try it with these identities; once for each', collect, []),
  )
    .addHelpText(
      'after',
      `
The list of sources keeps the officers' public keys, so that a rotation makes new shares for them, in a directory of its own.

Example:
  npm run -s intaglio -- root split --threshold 2 --recipient age1... --recipient age1... --recipient age1... --out shares`,
    )
    .action((options: SourceOptions & DataDirOption) =>
      onDirectory(options, async (bench) => {
        const { addSource } = await import('./root/acts.ts');
        await addSource(bench, wantedSource({ ...options, kind: 'shares' }, bench.config), options.id);
      }),
    );
}

interface JoinOptions extends SourceOptions, DataDirOption {
  readonly identity: readonly string[];
  readonly share: readonly string[];
  readonly source?: string;
  readonly check?: boolean;
}

function joinCommand(): Command {
  return dataDirOf(
    withSourceOptions(
      new Command('join')
        .description(
          'open the root key by shares, and give it a new source: the way back in when the others are lost',
        )
        .option('--identity <file>', "an officer's age identity file; once for each", collect, [])
        .option(
          '--share <file>',
          'a share: its age file, or the 33 bytes that the officer decrypted',
          collect,
          [],
        )
        .option('--source <id>', 'of which source of shares in the list')
        .option('--check', 'only see whether they open this store'),
    ),
  )
    .addHelpText(
      'after',
      `
Examples:
  npm run -s intaglio -- root join --identity one.txt --identity two.txt --check
  npm run -s intaglio -- root join --share one.bin --share two.bin --kind file --file root.key --id again`,
    )
    .action((options: JoinOptions) =>
      onDirectory(options, async (bench) => {
        const { identity: identities, share: shares, source } = options;
        const wanted = options.check === true ? undefined : wantedSource(options, bench.config);
        const [{ joinedSecret }, { addJoined }, { rootSourcesOf }] = await Promise.all([
          import('./root/join.ts'),
          import('./root/acts.ts'),
          import('../assemble/store/root-sources.ts'),
        ]);
        const from: JoinedFrom = { identities, shares, source };
        const secret = await joinedSecret(from, rootSourcesOf(bench.config).around);
        try {
          await addJoined(bench, secret, wanted, options.id);
        } finally {
          secret.fill(0);
        }
      }),
    );
}

function addCommand(): Command {
  return dataDirOf(
    withSourceOptions(
      new Command('add').description('give the root key another source, once it is seen to open'),
    ),
  )
    .addHelpText(
      'after',
      `
Without a place for it, a passphrase or PIN is asked for at the terminal. The first source that is added brings the one of the
configuration into the list, ${'`'}<data dir>/root-sources.json${'`'}, which counts from then on.

Examples:
  npm run -s intaglio -- root source add --kind passphrase
  npm run -s intaglio -- root source add --kind tpm --operator-key operator.pub.pem
  npm run -s intaglio -- root source add --aws-kms arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab
  npm run -s intaglio -- root source add --kind recipients --recipient age1pq1... --identity-file /etc/intaglio/identity`,
    )
    .action((options: SourceOptions & DataDirOption) =>
      onDirectory(options, async (bench) => {
        const { addSource } = await import('./root/acts.ts');
        await addSource(bench, wantedSource(options, bench.config), options.id);
      }),
    );
}

function removeCommand(): Command {
  return dataDirOf(
    new Command('remove')
      .description('take a source out of the list; the last one that opens stays')
      .argument('<id>', 'as root source list shows it'),
  )
    .addHelpText(
      'after',
      `
Whoever has a copy of what was removed still opens the store with it: rotate the root key where that matters.

Example:
  npm run -s intaglio -- root source remove file`,
    )
    .action((id: string, options: DataDirOption) =>
      onDirectory(options, async (bench) => {
        const { removeSource } = await import('./root/acts.ts');
        await removeSource(bench, id);
      }),
    );
}

function listCommand(): Command {
  return dataDirOf(new Command('list').description('the sources in the order in which they are tried'))
    .addHelpText(
      'after',
      `
Nothing is opened, and a service may run meanwhile.

Example:
  npm run -s intaglio -- root source list`,
    )
    .action((options: DataDirOption) =>
      refusing(async () => {
        const { rootSourcesOf } = await import('../assemble/store/root-sources.ts');
        for (const { id, kind, place, generation } of rootSourcesOf(configOf(options)).views())
          process.stdout.write(
            `${id} ${kind} ${place}${generation === undefined ? '' : ` generation ${generation}`}\n`,
          );
      }),
    );
}

function asking(command: Command): Command {
  return withServiceAddress(
    dataDirOf(command).option(
      '--token-file <file>',
      "ask the service that runs: a file with a capability of the operator's tenant for kms:admin",
    ),
  );
}

/** On the data directory of a service that is stopped. */
function onDirectory(options: DataDirOption, act: (bench: Bench) => Promise<void>): Promise<void> {
  return refusing(async () => {
    const config = configOf(options);
    const [{ chooseEngine }, { createLog }, { openRootWrapping }, { tpmSealing }, { openCloudWrapping }] =
      await Promise.all([
        import('../assemble/engine.ts'),
        import('../observe/log.ts'),
        import('../custody/pkcs11/root-wrapping.ts'),
        import('../custody/tpm/root-sealing.ts'),
        import('../custody/root-key/cloud/providers.ts'),
      ]);
    const log = createLog('error', config.telemetryService, process.stderr);
    const { engine } = chooseEngine(config, log);
    const say = (line: string) => void process.stdout.write(`${line}\n`);
    try {
      const [token, cloud] = [await openRootWrapping(), openCloudWrapping(engine)];
      await act({ config, log, engine, say, token, tpm: tpmSealing, cloud });
    } finally {
      engine.wipe();
    }
  });
}

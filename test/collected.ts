import { globSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { after, describe } from 'node:test';
import { availableEngines } from './support/engines.ts';
import { stopRunning } from './support/in-process.ts';

const { scripts } = JSON.parse(readFileSync(join(import.meta.dirname, '..', 'package.json'), 'utf8')) as {
  scripts: { test: string };
};
const [others = '', apart = ''] = scripts.test.match(/(?<="test\/)[^"]+/g) ?? [];
const folders = /^!\(([\w|-]+)\)/.exec(others)?.[1]?.split('|');
if (folders === undefined) throw new Error('the script `test` of package.json leaves no folders out');

const inside = { cwd: import.meta.dirname };
const alone = new Set(globSync(apart, inside));

/**
 * Loads the tests of folders in this process: a process for each file costs more than most of
 * them do. The folders are those that the script `test` of package.json leaves out of its first pattern; its second one names
 * their files that keep a process of their own: they change or measure what all of a process share, or start many processes.
 * With `afterEachFile` each file is a suite of its name. The last service to end wipes the engine, so rooms are none: they have roots
 * from their loading on.
 */
export function collect(isWanted: (file: string) => boolean, afterEachFile?: () => Promise<void>): void {
  const load = createRequire(import.meta.url);
  const wanted = folders?.map((folder) => `${folder}/**/*.test.ts`) ?? [];
  const files = globSync(wanted, inside).filter((file) => !alone.has(file) && isWanted(file));
  // All of them before the first test begins, as a test that changes clocks or timers would change them for what is still loading.
  for (const file of files.sort()) {
    if (afterEachFile === undefined) load(`./${file}`);
    else
      describe(file, () => {
        load(`./${file}`);
        after(afterEachFile);
      });
  }
}

/** The same for tests of whole services, each file a suite. */
export function collectServices(isWanted: (file: string) => boolean): void {
  const [engine] = availableEngines();
  collect(isWanted, async () => {
    await stopRunning();
    // The last service to end wipes the engine. This is for what a file opened beside: a process has room for 64 roots.
    engine?.create().wipe();
  });
}

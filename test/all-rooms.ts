import { globSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';

// The tests of rooms that need no process of their own, in one: a process for each file costs more than most of them do. They are
// the folders that the script `test` of package.json leaves out of its pattern.
const { scripts } = JSON.parse(readFileSync(join(import.meta.dirname, '..', 'package.json'), 'utf8')) as {
  scripts: { test: string };
};
const rooms = /test\/!\(([\w|-]+)\)/.exec(scripts.test)?.[1]?.replaceAll('|', ',');
if (rooms === undefined) throw new Error('the script `test` of package.json leaves no folders out');
const files = globSync(`{${rooms}}/**/*.test.ts`, { cwd: import.meta.dirname }).sort();
// All of them before the first test begins, as a test that changes clocks or timers would change them for what is still loading.
const load = createRequire(import.meta.url);
for (const file of files) load(`./${file}`);

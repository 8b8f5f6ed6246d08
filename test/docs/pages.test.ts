import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { after, before, type TestContext } from 'node:test';
import { startInProcess } from '../support/in-process.ts';
import { type ListeningService, startService, temporaryDirectory } from '../support/service.ts';
import { blocksOf, commandsOf, pages, root, textOf } from './commands.ts';
import { exceptionOf, exceptions } from './exceptions.ts';
import { type Page, preparations } from './preparations.ts';
import { failing, makeDesk, runSteps, standInForCurl, whileServing } from './shell.ts';

// Every command of README.md and docs/ is run here, save those of the list of exceptions.

let service: ListeningService;
before(async () => {
  service = await startInProcess({ listen: true });
});
after(() => service.stop());

const has = (program: string) => spawnSync('sh', ['-c', `command -v ${program}`]).status === 0;
const hasCurl = has('curl');
/** Programs of the machine that pages use. */
const missing = ['openssl', 'python3', 'xxd', 'sha256sum'].filter((program) => !has(program));
/** What the stand-in for curl does not know. */
const ofRealCurl = /curl (-sH|--)/;

function lackOf(commands: readonly string[]): string | undefined {
  const text = commands.join('\n');
  const lack = missing.find((program) => new RegExp(`\\b${program}\\b`).test(text));
  return lack ?? (!hasCurl && ofRealCurl.test(text) ? 'curl' : undefined);
}

/** Places of the pages that are directories of the desk here. */
const places = ['/srv/', '/run/', '/etc/prometheus/', '/var/lib/intaglio', '/backup/', '/root/'];

for (const page of pages) {
  const commands = commandsOf(page);
  const ours = commands.filter((command) => exceptionOf(page, command) === undefined);
  if (ours.length === 0) continue;
  const lack = lackOf(ours);
  const skip = lack !== undefined && `there is no ${lack}`;
  test(`the commands of ${page} run as they stand`, { skip, timeout: 120_000 }, (context) =>
    walk(context, ours, preparations[page] ?? {}),
  );
}

async function walk(context: TestContext, commands: readonly string[], given: Page): Promise<void> {
  const directory = temporaryDirectory();
  const dataDir = given.serve === undefined ? service.dataDir : temporaryDirectory();
  const desk = makeDesk(directory, dataDir);
  if (!hasCurl) standInForCurl(desk);
  const own = given.serve && (await startService({ env: given.serve(desk), dataDir }));
  context.after(() => own?.stop());
  const running = own ?? service;
  const { env = {}, replace = [] } = (await given.prepare?.(desk, running)) ?? {};
  const here = (command: string) => {
    const moved = places.reduce((text, place) => text.replaceAll(place, `${directory}${place}`), command);
    const replaced = replace.reduce((text, [from, to]) => text.replaceAll(from, to), moved);
    return replaced
      .replaceAll('http://127.0.0.1:7441', running.url)
      .replaceAll('10.0.0.2:7442', '127.0.0.1:0');
  };
  const begins = (command: string, beginnings: readonly string[] = []) =>
    beginnings.some((beginning) => command.startsWith(beginning));
  const steps = commands.map((command) => {
    if (begins(command, given.fails)) return failing(here(command));
    return begins(command, given.serves) ? whileServing(here(command)) : here(command);
  });
  const { status, output, lastStep } = await runSteps(desk, steps, env);
  assert.equal(status, 0, `${commands[lastStep]}\n${output}`);
  assert.doesNotMatch(output, /"error"/);
  for (const said of given.says ?? []) assert.match(output, said);
  await given.check?.(desk, running);
}

test('each exception is of a command that is there, and what runs it instead is there', () => {
  for (const { page, command, ranBy } of exceptions) {
    const of = commandsOf(page).filter((one) => exceptionOf(page, one)?.command === command);
    assert.ok(of.length > 0, `${page} has no command ${command}`);
    assert.ok(ranBy === undefined || existsSync(join(root, ranBy)), `${command}: there is no ${ranBy}`);
  }
  for (const page of Object.keys(preparations)) assert.ok(commandsOf(page).length > 0, page);
});

test('each metric that a page names is one', () => {
  const sources = globSync('src/**/*.ts', { cwd: root }).map((path) =>
    readFileSync(join(root, path), 'utf8'),
  );
  const known = new Set(sources.join('').match(/kms_[a-z_]+/g));
  for (const page of pages)
    for (const [, name = ''] of textOf(page).matchAll(/`(kms_[a-z_]+)[`{]/g))
      assert.ok(known.has(name), `${page}: ${name}`);
});

test('blocks of commands say that they are, and each script of npm that a page names is one', () => {
  const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  const programs = /^(\$ |npm |node |curl |openssl |docker |git |apt-get |cat |python3 |go |intaglio )/m;
  for (const page of [...pages, 'CONTRIBUTING.md', 'SECURITY.md']) {
    for (const { language, text } of blocksOf(page))
      if (language === '') assert.doesNotMatch(text, programs, page);
    for (const [, name = ''] of textOf(page).matchAll(/npm run (?:-s )?([a-z][a-z0-9]*(?:[:-][a-z0-9]+)*)/g))
      assert.ok(name in scripts, `${page}: npm run ${name}`);
  }
});

import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, existsSync, readFileSync, symlinkSync } from 'node:fs';
import { createServer } from 'node:net';
import { join, relative } from 'node:path';
import { createInterface } from 'node:readline';
import type { TestContext } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { commandsOf, root } from './commands.ts';

/** Names that no checkout has: made by the set-up, by builds and by services. */
const made = [
  ...['.git', 'node_modules', 'data', 'dist', 'native/target', 'native/build', 'build.json'],
  'bench/load/native/target',
];

/** A checkout as somebody gets it: with `clone` by git, of what is committed; else of the files that are there. */
export function checkout(directory: string, { clone }: { readonly clone: boolean }): string {
  const place = join(directory, 'intaglio');
  if (!clone) {
    cpSync(root, place, { recursive: true, filter: (path) => !made.includes(relative(root, path)) });
    symlinkSync(join(root, 'node_modules'), join(place, 'node_modules'));
    return place;
  }
  const { status, stderr } = spawnSync('git', ['clone', '--quiet', '--depth=1', `file://${root}`, place]);
  assert.equal(status, 0, String(stderr));
  return place;
}

export interface Newcomer {
  readonly url: string;
  /** All that `npm start` printed so far. */
  readonly printed: () => string;
  /** The lines to copy that `npm start` printed. */
  readonly lines: readonly string[];
  stop(): Promise<void>;
}

/** `npm start`, as README.md has it, in an environment with nothing of the tests' own; it ends with the test. */
export async function npmStart(
  context: TestContext,
  place: string,
  env: Readonly<Record<string, string | undefined>>,
): Promise<Newcomer> {
  const npm = spawn('npm', ['start'], {
    cwd: place,
    env: { PATH: process.env.PATH, HOME: process.env.HOME, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  });
  context.after(() => endGroup(npm));
  let printed = '';
  for (const stream of [npm.stdout, npm.stderr])
    stream.setEncoding('utf8').on('data', (text: string) => {
      printed += text;
    });
  let url: string | undefined;
  for await (const line of createInterface(npm.stdout)) {
    if (!line.includes('"msg":"listening"')) continue;
    url = (JSON.parse(line) as { url: string }).url;
    break;
  }
  assert.ok(url !== undefined, `npm start serves nothing:\n${printed}`);
  // The lines come by the other stream, and may come later.
  const copied = /^ {2}(KID=|SIG=|curl ).*\n/gm;
  while ((printed.match(copied) ?? []).length < 3 && npm.exitCode === null) await delay(20);
  const lines = printed.match(copied) ?? [];
  return {
    ...{ url, lines: lines.map((line) => line.trim()) },
    printed: () => printed,
    async stop() {
      const gone = once(npm, 'exit');
      process.kill(-(npm.pid as number), 'SIGINT');
      await gone;
    },
  };
}

function endGroup(npm: ChildProcess): void {
  if (npm.exitCode !== null || npm.signalCode !== null || npm.pid === undefined) return;
  try {
    process.kill(-npm.pid, 'SIGKILL');
  } catch {
    // It is gone.
  }
}

/** The lines of README.md that its reader copies. */
export function linesOfReadme(): string[] {
  return commandsOf('README.md').filter((command) => !command.startsWith('npm '));
}

/** Runs lines in one shell of the checkout; their output. */
export function copyInto(place: string, lines: readonly string[]): string {
  const ran = spawnSync('sh', ['-c', `set -eu\n${lines.join('\n')}`], { cwd: place, encoding: 'utf8' });
  assert.equal(ran.status, 0, ran.stderr);
  assert.match(ran.stdout, /#v1\nsigned: \S{40}\.\.\.\n/);
  assert.match(ran.stdout, /"ok":true/);
  return ran.stdout;
}

export async function isFree(port: number): Promise<boolean> {
  const server = createServer();
  return new Promise((resolve) => {
    server.once('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });
}

/** What a first start leaves behind is private, and a second one finds it. */
export function isKept(place: string): boolean {
  const token = join(place, 'data', 'bootstrap.token');
  return existsSync(token) && readFileSync(token, 'utf8').trim() !== '';
}

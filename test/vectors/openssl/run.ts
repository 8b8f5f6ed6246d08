import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, globSync, mkdirSync, writeFileSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

// `npm run openssl:interop [-- <folder>]`: builds the openssl command of OpenSSL 3.5.5 from the crate openssl-src, once, and runs
// the tests that compare with the command by it: signatures, sealing, public keys, certification requests and tokens. Needs cargo,
// perl, make, a C compiler; ten minutes on one core. OPENSSL names a command that is there, of 3.5 or later, and nothing is built.

const version = '300.5.5+3.5.5';
const folder = process.argv[2] ?? join(tmpdir(), `intaglio-openssl-${version}-${process.getuid?.() ?? 0}`);
const source = join(folder, 'openssl');
const command = process.env.OPENSSL ?? join(source, 'apps', 'openssl');

/**
 * The crate leaves out util/providers.num and util/mkdef.pl, which a shared library or a module needs: without both, all is in
 * the command itself. The legacy provider is a module.
 */
const options = ['no-shared', 'no-module', 'no-legacy', 'no-dso', 'no-tests', 'no-docs'];

function run(cwd: string, program: string, ...args: readonly string[]): void {
  const { status, error } = spawnSync(program, args, { cwd, stdio: ['ignore', 'inherit', 'inherit'] });
  if (status === 0) return;
  process.stderr.write(`${program} ${args.join(' ')}: ${error?.message ?? `ended with status ${status}`}\n`);
  process.exit(1);
}

function build(): void {
  const crate = join(folder, 'crate');
  mkdirSync(join(crate, 'src'), { recursive: true, mode: 0o700 });
  writeFileSync(join(crate, 'src', 'lib.rs'), '');
  const head = '[package]\nname = "fetch"\nversion = "0.0.0"\nedition = "2021"\n\n[workspace]\n';
  writeFileSync(join(crate, 'Cargo.toml'), `${head}\n[dependencies]\nopenssl-src = "=${version}"\n`);
  run(crate, 'cargo', 'fetch');
  const cargoHome = process.env.CARGO_HOME ?? join(homedir(), '.cargo');
  const [fetched] = globSync(join(cargoHome, 'registry', 'src', '*', `openssl-src-${version}`, 'openssl'));
  if (fetched === undefined) throw new Error('cargo fetched no openssl-src');
  cpSync(fetched, source, { recursive: true });
  run(source, 'perl', 'Configure', ...options);
  const make = ['-n', '19', 'make', '-s', '-j1'];
  run(source, 'nice', ...make, 'build_generated');
  run(source, 'nice', ...make, 'apps/openssl');
}

if (process.env.OPENSSL === undefined && !existsSync(command)) build();
const root = fileURLToPath(new URL('../../..', import.meta.url));
run(root, command, 'version');
const tests = ['openssl-command.test.ts', 'openssl-sealing.test.ts', 'openssl/formats.test.ts'].map((name) =>
  fileURLToPath(new URL(`../${name}`, import.meta.url)),
);
process.env.OPENSSL = command;
run(root, process.execPath, '--test', ...tests);

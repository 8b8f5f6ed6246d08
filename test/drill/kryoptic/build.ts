import { execFileSync, spawnSync } from 'node:child_process';
import { appendFileSync, cpSync, existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';

/** The version of the crate, with which all of this was tried. */
const version = '1.5.4';

/** The crate by itself asks for OpenSSL's sources; its bindings take them from another crate, which has them. */
const vendored = `
[dependencies.openssl-sys]
version = "0.9"
features = ["vendored", "bindgen"]
`;

/** Outside of the tree, and kept: the build takes minutes. */
export function kryopticDirectory(): string {
  const cache = process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache');
  return join(cache, 'intaglio', `kryoptic-${version}`);
}

/** Kryoptic, a PKCS#11 token in Rust with ML-DSA, from the Rust registry. The path of its module. Throws where a step fails. */
export function buildKryoptic(): string {
  const directory = kryopticDirectory();
  const source = join(directory, 'source');
  const module = join(source, 'target', 'release', 'libkryoptic_pkcs11.so');
  if (existsSync(module)) return module;
  if (!existsSync(source)) fetchSource(directory, source);
  const features = 'standard,pqc,kryoptic-lib/openssl-sys';
  run('cargo', ['build', '--release', '--no-default-features', '--features', features], source);
  return module;
}

/** By way of a crate that depends on it: cargo alone reads the registry. */
function fetchSource(directory: string, source: string): void {
  const asking = join(directory, 'asking');
  mkdirSync(join(asking, 'src'), { recursive: true });
  writeFileSync(join(asking, 'src', 'lib.rs'), '');
  writeFileSync(
    join(asking, 'Cargo.toml'),
    `[package]\nname = "asking"\nversion = "0.0.0"\nedition = "2021"\n[dependencies]\nkryoptic = "=${version}"\n[workspace]\n`,
  );
  run('cargo', ['fetch'], asking);
  const metadata = execFileSync('cargo', ['metadata', '--format-version', '1'], {
    ...{ cwd: asking, encoding: 'utf8', maxBuffer: 64 * 2 ** 20 },
  });
  const { packages } = JSON.parse(metadata) as { packages: { name: string; manifest_path: string }[] };
  const found = packages.find(({ name }) => name === 'kryoptic');
  if (found === undefined) throw new Error('cargo did not fetch kryoptic');
  cpSync(join(found.manifest_path, '..'), source, { recursive: true });
  appendFileSync(join(source, 'Cargo.toml'), vendored);
}

function run(command: string, args: readonly string[], cwd: string): void {
  const { status, error } = spawnSync(command, args, { cwd, stdio: ['ignore', 2, 2] });
  if (status !== 0) throw error ?? new Error(`${command} ${args[0]} ended with status ${status}`);
}

/** Writes docs/sbom/intaglio.cdx.json. Needs cargo, which knows the licences of crates. */
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { bomOf, crateComponents, npmComponents } from './supply/components.js';

const root = fileURLToPath(new URL('..', import.meta.url));
/** @param {string} path */
const json = (path) => JSON.parse(readFileSync(`${root}${path}`, 'utf8'));

const metadata = JSON.parse(
  execFileSync('cargo', ['metadata', '--locked', '--format-version', '1'], {
    cwd: `${root}native`,
    encoding: 'utf8',
    // Some 60 crates with all that their manifests say are 1 MB.
    maxBuffer: 64 * 1024 * 1024,
  }),
);
const components = [
  ...npmComponents(json('package-lock.json')),
  ...crateComponents(metadata, readFileSync(`${root}native/Cargo.lock`, 'utf8')),
];
const path = `${root}docs/sbom/intaglio.cdx.json`;
writeFileSync(path, `${JSON.stringify(bomOf(json('package.json'), components), null, 2)}\n`);
process.stdout.write(`${path}: ${components.length} components\n`);

/**
 * Makes what a package has and a checkout has not, before `npm pack`: the program as JavaScript with declarations (Node strips no
 * types under node_modules), the module for browsers, and the commit. The same bytes for the same commit.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { bundleForBrowser } from './supply/browser.js';

const root = fileURLToPath(new URL('..', import.meta.url));
const dist = join(root, 'dist');

// Files of sources that are gone would be delivered.
rmSync(dist, { recursive: true, force: true });
const compiler = join(root, 'node_modules', 'typescript', 'bin', 'tsc');
execFileSync(process.execPath, [compiler, '--project', join(root, 'tsconfig.package.json')], {
  stdio: ['ignore', 'inherit', 'inherit'],
});
mkdirSync(join(dist, 'browser'));
await bundleForBrowser(join(dist, 'browser', 'intaglio-verify.js'));
await import('./supply/write-build.ts');

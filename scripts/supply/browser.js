import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const entry = fileURLToPath(new URL('../../src/client/browser.ts', import.meta.url));

/**
 * One ES module for browsers of 2023 and later. Whatever asks for a module of Node fails the build.
 * @param {string} outfile
 */
export async function bundleForBrowser(outfile) {
  await build({
    ...{ entryPoints: [entry], outfile, bundle: true, minify: true, format: 'esm' },
    ...{ platform: 'browser', target: 'es2022', legalComments: 'inline', logLevel: 'silent' },
  });
}

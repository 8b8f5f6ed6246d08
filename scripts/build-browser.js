// Makes dist/browser/intaglio-verify.js: one ES module that verifies signatures in a browser.
import { mkdirSync, statSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { bundleForBrowser } from './supply/browser.js';

const folder = fileURLToPath(new URL('../dist/browser/', import.meta.url));
mkdirSync(folder, { recursive: true });
const file = `${folder}intaglio-verify.js`;
await bundleForBrowser(file);
process.stdout.write(`${file}: ${statSync(file).size} bytes\n`);

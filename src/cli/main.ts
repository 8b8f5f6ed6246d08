#!/usr/bin/env node
import module from 'node:module';
import { fileURLToPath } from 'node:url';
import { setFlagsFromString } from 'node:v8';
import { ownRoot } from '../core/own-package.ts';
import { refuseInspectorBySignal } from '../core/process/inspection.ts';

// Who has installed the package runs it on a Node of their own.
const [major = 0] = process.versions.node.split('.').map(Number);
if (major < 24) {
  process.stderr.write(`intaglio needs Node 24 or later, and this is ${process.version}\n`);
  process.exit(1);
}

// Before anything else is loaded.
refuseInspectorBySignal();

// `npm start` lets the young generation of this thread begin with two semi-spaces of 16 MiB. V8 reads the flag when it makes a
// heap, so this is for the threads to come, which need less: each saves up to 28 MiB.
setFlagsFromString('--min-semi-space-size=1');

// V8's compiled form of the sources is kept for the next start. Not in the system's directory for temporary files, where others
// could leave code for us to run. It lies beside the packages, which belong to the user who installed them.
module.enableCompileCache(fileURLToPath(new URL('node_modules/.cache/compiled', ownRoot)));

// Only what is imported from here on comes from the cache.
const { failBySystem } = await import('./fail.ts');
await import('./program.ts').catch(failBySystem);

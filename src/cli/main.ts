#!/usr/bin/env node
import { enableCompileCache } from 'node:module';
import { fileURLToPath } from 'node:url';
import { setFlagsFromString } from 'node:v8';
import { ownRoot } from '../core/own-package.ts';
import { refuseInspectorBySignal } from '../core/process/inspection.ts';

// Before anything else is loaded.
refuseInspectorBySignal();

// `npm start` lets the young generation of this thread begin with two semi-spaces of 16 MiB. V8 reads the flag when it makes a
// heap, so this is for the threads to come, which need less: each saves up to 28 MiB.
setFlagsFromString('--min-semi-space-size=1');

// V8's compiled form of the sources is kept for the next start. Not in the system's directory for temporary files, where others
// could leave code for us to run. It lies beside the packages, which belong to the user who installed them.
enableCompileCache(fileURLToPath(new URL('node_modules/.cache/compiled', ownRoot)));

// Only what is imported from here on comes from the cache.
const { failBySystem } = await import('./fail.ts');
await import('./program.ts').catch(failBySystem);

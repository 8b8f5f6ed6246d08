import { enableCompileCache } from 'node:module';
import { fileURLToPath } from 'node:url';

// What V8 makes of the sources is kept for the next start. Not in the system's directory for temporary files, where
// others could leave code for us to run: beside the packages, which whoever installed them owns.
enableCompileCache(fileURLToPath(new URL('../../node_modules/.cache/compiled', import.meta.url)));

// Only what is imported from here on comes from the cache.
await import('./program.ts');

import { Worker } from 'node:worker_threads';

/** The parent is looked for so often, in milliseconds. */
const lookEveryMs = 1_000;

/** Plain JavaScript, as it runs from memory: a file would be one more entry of the package. */
const look = `
const { workerData } = require('node:worker_threads');
setInterval(() => {
  if (process.ppid !== workerData.parent) process.kill(process.pid, 'SIGKILL');
}, workerData.everyMs);
`;

/**
 * Ends this process when its parent has ended, however that ended and whatever this one does: a thread of its own looks, as a
 * library of others may hold up the main thread for good. About 5 MB.
 */
export function endWithParent(): void {
  const watch = new Worker(look, {
    eval: true,
    workerData: { parent: process.ppid, everyMs: lookEveryMs },
    resourceLimits: { maxOldGenerationSizeMb: 16, maxYoungGenerationSizeMb: 2 },
    execArgv: [],
  });
  // Without it the process goes on as before.
  watch.on('error', () => {});
  watch.unref();
}

/** At once, and whatever threads of the pool are held up in: `process.exit` waits for them. */
export function endNow(): void {
  process.kill(process.pid, 'SIGKILL');
}

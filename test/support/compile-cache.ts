import { join, resolve } from 'node:path';

/**
 * For processes and threads whose environment is not that of the tests: without it each makes a compiler of its own for types.
 * Absolute, as they may have another working directory.
 */
export const compileCache = {
  NODE_COMPILE_CACHE: resolve(
    process.env.NODE_COMPILE_CACHE ??
      join(import.meta.dirname, '..', '..', 'node_modules', '.cache', 'compiled'),
  ),
};

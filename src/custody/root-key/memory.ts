import type { RootKeySource } from './source.ts';

/** A new key for each start, for a store that forgets everything as well. */
export const memoryRootKey: RootKeySource = {
  place: 'the root key',
  isThere: () => true,
  open: async () => ({ kind: 'memory' }),
};

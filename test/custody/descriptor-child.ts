/** Opens descriptor 3 as the root key of an empty store, and says what became of the descriptor. */
import { fstatSync } from 'node:fs';
import { descriptorRootKey } from '../../src/custody/root-key/descriptor.ts';
import { openRootKeyForStore } from '../../src/custody/root-key/open-for-store.ts';
import { MemoryStore } from '../../src/store/memory/memory-store.ts';
import { availableEngines } from '../support/engines.ts';

const [engine] = availableEngines();
const source = descriptorRootKey(3, { groupAllowed: false });
await openRootKeyForStore(engine!.create(), new MemoryStore(), source);
let state = 'open';
try {
  fstatSync(3);
} catch {
  state = 'closed';
}
process.stdout.write(`opened, ${state}\n`);

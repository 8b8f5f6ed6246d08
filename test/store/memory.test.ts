import { MemoryStore } from '../../src/store/memory/memory-store.ts';
import { storeContract } from '../contracts/store.ts';

storeContract('memory', async (t) => {
  const store = new MemoryStore();
  t.after(() => store.close());
  return store;
});

import { createRequire } from 'node:module';

/**
 * For Node's `--import`, in every thread before anything else: `aheadMs` puts the clock forward, `synchronised` is what the
 * kernel answers (`yes`, `no`), where the native addon is there to ask it.
 */
const { searchParams } = new URL(import.meta.url);

const now = Date.now;
const aheadMs = Number(searchParams.get('aheadMs') ?? 0);
Date.now = () => now() + aheadMs;

try {
  const addon = createRequire(import.meta.url)('../../native/build/intaglio_native.node');
  addon.clockSynchronised = () => searchParams.get('synchronised') !== 'no';
} catch {
  // Without it nobody is asked.
}

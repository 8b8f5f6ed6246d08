import {
  type BatchItem,
  batchStatuses,
  encodeBatch,
  readResults,
  responseFor,
} from '../../src/engine/batch.ts';
import type { Engine } from '../../src/engine/engine.ts';
import { timeUs } from './sample.ts';

/** As many as the other loop has of the quick ones, see engine-loop.ts. */
const batchSize = 16;

/** Microseconds of one core for an item in batches as the workers make them, and what it gave out, as views of the response. */
export function timeBatch(
  engine: Engine,
  root: unknown,
  item: BatchItem,
  windowMs: number,
): { readonly us: number; readonly outputs: readonly Uint8Array[] } {
  const items = Array.from({ length: batchSize }, () => ({ ...item }));
  const request = encodeBatch(items);
  const response = responseFor(request);
  const us = timeUs(() => engine.run(root, request, response), windowMs) / batchSize;
  const [first] = readResults(items, response);
  if (first?.status !== batchStatuses.ok)
    throw new Error(`operation ${item.op} of scheme ${item.scheme} gave status ${first?.status}`);
  return { us, outputs: first.outputs };
}

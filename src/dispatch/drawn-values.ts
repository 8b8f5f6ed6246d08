import { type BatchItem, type BatchOp, type BatchResult, batchOps, batchStatuses } from '../engine/batch.ts';
import { schemes } from '../engine/engine.ts';

/**
 * What engines drew lately: the first 96 bits of a nonce, or of a KEM's encapsulated key. None of them comes twice, under whatever
 * key, unless the random source repeats: of two ciphertexts under one nonce anybody learns what they differ in.
 */
export interface DrawnValues {
  /** Notes it; true: it was drawn before. */
  repeats(output: Uint8Array): boolean;
}

/** The last value of each slot is kept, so that a source that starts again is noticed within as many values: 768 KiB. */
const slots = 65_536;
const valueWords = 3;
const valueBytes = valueWords * 4;

export function createDrawnValues(): DrawnValues {
  let known: Uint32Array | undefined;
  return {
    repeats(output) {
      if (output.length < valueBytes) return false;
      known ??= new Uint32Array(slots * valueWords);
      const view = new DataView(output.buffer, output.byteOffset, valueBytes);
      const [one, two, three] = [view.getUint32(0), view.getUint32(4), view.getUint32(8)];
      const at = (three % slots) * valueWords;
      // Slots begin with zeros: a source that gives only these is noticed at once.
      if (known[at] === one && known[at + 1] === two && known[at + 2] === three) return true;
      known[at] = one;
      known[at + 1] = two;
      known[at + 2] = three;
      return false;
    },
  };
}

const drawing: ReadonlySet<BatchOp> = new Set([
  batchOps.encrypt,
  batchOps.wrap,
  batchOps.dataKey,
  batchOps.rewrap,
  batchOps.reencrypt,
  batchOps.encryptUnder,
]);

/** True if the first output of such an item begins with something drawn for it; RFC 5649 draws nothing. */
function draws({ op, scheme }: BatchItem): boolean {
  return op >= batchOps.encrypt && drawing.has(op) && scheme !== schemes['aes-256-kwp'];
}

/** The results without those whose drawn value came before: they are INTERNAL, and what was made is wiped. */
export function withoutRepeats(
  drawn: DrawnValues,
  items: readonly BatchItem[],
  results: BatchResult[],
  onRepeat: () => void,
): BatchResult[] {
  for (let n = 0; n < items.length; n++) {
    const item = items[n] as BatchItem;
    const { status, outputs, elapsedNs } = results[n] as BatchResult;
    if (status !== batchStatuses.ok || !draws(item) || !drawn.repeats(outputs[0] as Uint8Array)) continue;
    for (const output of outputs) output.fill(0);
    results[n] = { status: batchStatuses.internal, outputs: [], elapsedNs };
    onRepeat();
  }
  return results;
}

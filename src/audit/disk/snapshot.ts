import { timingSafeEqual } from 'node:crypto';
import type { MacKey } from '../../core/mac-key.ts';
import type { KeyState } from './logged-keys.ts';

/** The state from which replay begins after a sealed segment instead of at the first record. */
export interface Snapshot {
  /** Leaves up to the end of the segment. */
  readonly size: number;
  /** Roots of the complete subtrees, from the largest to the smallest. */
  readonly nodes: readonly Uint8Array[];
  /** Microseconds since 1970, of the last record. */
  readonly lastTs: number;
  /** The last sequence number of each key so far. */
  readonly seqs: ReadonlyMap<string, number>;
  /** The possible states of the keys that were changed; all of these changes are decided. */
  readonly keys: ReadonlyMap<string, readonly KeyState[]>;
}

const macBytes = 32;

/**
 * JSON, then HMAC-SHA-256 of the origin and it: it says where sequence numbers go on, and no root covers that. A key has its
 * number, or a list of that and its states.
 */
export function sealSnapshot(origin: string, snapshot: Snapshot, key: MacKey): Buffer {
  const { size, nodes, lastTs, seqs, keys } = snapshot;
  const numbers: Record<string, number | number[]> = Object.create(null);
  for (const [id, seq] of seqs) {
    const states = keys.get(id);
    numbers[id] = states === undefined ? seq : [seq, ...states];
  }
  const text = Buffer.from(
    JSON.stringify({
      size,
      nodes: nodes.map((node) => Buffer.from(node).toString('hex')),
      lastTs,
      keys: numbers,
    }),
  );
  return Buffer.concat([text, mac(origin, text, key)]);
}

export function openSnapshot(origin: string, sealed: Buffer, key: MacKey): Snapshot | undefined {
  if (sealed.length <= macBytes) return undefined;
  const text = sealed.subarray(0, -macBytes);
  if (!timingSafeEqual(mac(origin, text, key), sealed.subarray(-macBytes))) return undefined;
  const { size, nodes, lastTs, keys: numbers } = JSON.parse(text.toString());
  const [seqs, keys] = [new Map<string, number>(), new Map<string, readonly KeyState[]>()];
  for (const [id, value] of Object.entries<number | number[]>(numbers)) {
    if (typeof value === 'number') {
      seqs.set(id, value);
      continue;
    }
    const [seq = 0, ...states] = value;
    seqs.set(id, seq);
    keys.set(id, states);
  }
  return {
    size,
    nodes: nodes.map((node: string) => Buffer.from(node, 'hex')),
    lastTs,
    seqs,
    keys,
  };
}

function mac(origin: string, text: Buffer, key: MacKey): Buffer {
  return key.mac(Buffer.concat([Buffer.from(`${origin}\n`), text]));
}

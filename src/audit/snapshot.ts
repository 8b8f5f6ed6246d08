import { createHmac, type KeyObject, timingSafeEqual } from 'node:crypto';

/** What replay needs to begin after a sealed segment instead of at the first record. */
export interface Snapshot {
  /** Leaves up to the end of the segment. */
  readonly size: number;
  /** Roots of the complete subtrees, from the largest to the smallest. */
  readonly nodes: readonly Uint8Array[];
  /** Microseconds since 1970, of the last record. */
  readonly lastTs: number;
  /** The last sequence number of each key so far. */
  readonly seqs: ReadonlyMap<string, number>;
}

const macBytes = 32;

/** JSON, then HMAC-SHA-256 of the origin and it: it says where sequence numbers go on, and no root covers that. */
export function sealSnapshot(origin: string, snapshot: Snapshot, key: KeyObject): Buffer {
  const { size, nodes, lastTs, seqs } = snapshot;
  const text = Buffer.from(
    JSON.stringify({
      size,
      nodes: nodes.map((node) => Buffer.from(node).toString('hex')),
      lastTs,
      seqs: Object.fromEntries(seqs),
    }),
  );
  return Buffer.concat([text, mac(origin, text, key)]);
}

export function openSnapshot(origin: string, sealed: Buffer, key: KeyObject): Snapshot | undefined {
  if (sealed.length <= macBytes) return undefined;
  const text = sealed.subarray(0, -macBytes);
  if (!timingSafeEqual(mac(origin, text, key), sealed.subarray(-macBytes))) return undefined;
  const { size, nodes, lastTs, seqs } = JSON.parse(text.toString());
  return {
    size,
    nodes: nodes.map((node: string) => Buffer.from(node, 'hex')),
    lastTs,
    seqs: new Map(Object.entries(seqs)),
  };
}

function mac(origin: string, text: Buffer, key: KeyObject): Buffer {
  return createHmac('sha256', key).update(`${origin}\n`).update(text).digest();
}

import { timingSafeEqual } from 'node:crypto';
import type { MacKey } from '../../core/mac-key.ts';
import { ok, type Result, refuse } from '../../core/result.ts';
import type { Store } from '../../store/store.ts';
import type { TreeHead } from './head.ts';

/** The key store's memory of the log: written before each checkpoint is published, so never behind one. */
export interface Anchor extends TreeHead {
  readonly origin: string;
  readonly epoch: number;
  readonly bootId: string;
}

export interface AnchorStore {
  load(): Promise<Result<Anchor | undefined>>;
  /** Durable when it resolves. Refuses with Conflict to go back: to a smaller tree, an older epoch or another root. */
  save(anchor: Anchor): Promise<Result<void>>;
}

/** Under this key of the store. */
export const anchorKey = 'audit/anchor';

/** An anchor in the key store, authenticated. Refuses with AuditUnavailable where what is stored is not authentic. */
export function storeAnchors(store: Store, key: MacKey): AnchorStore {
  return {
    async load() {
      const found = await store.get(anchorKey);
      if (!found.ok) return found;
      if (found.value === undefined) return ok(undefined);
      const anchor = openAnchor(found.value.value, key);
      return anchor === undefined ? refuse('AuditUnavailable', 'the anchor is not authentic') : ok(anchor);
    },
    async save(anchor) {
      // A save that was given up can still arrive after a newer one: its revision is an old one then.
      const found = await store.get(anchorKey);
      if (!found.ok) return found;
      const { value, revision: expectedRevision } = found.value ?? { value: undefined, revision: 0 };
      const known = value === undefined ? undefined : openAnchor(value, key);
      if (value !== undefined && known === undefined) {
        return refuse('AuditUnavailable', 'the anchor is not authentic');
      }
      if (known !== undefined && !continues(known, anchor)) {
        return refuse('Conflict', 'the store has a newer anchor');
      }
      const change = { key: anchorKey, value: sealAnchor(anchor, key), expectedRevision };
      const outcome = await store.commit([change]);
      if (!outcome.ok) return outcome;
      return outcome.value.committed ? ok(undefined) : refuse('Conflict', 'another anchor came between');
    },
  };
}

function continues(known: Anchor, next: Anchor): boolean {
  if (known.epoch !== next.epoch) return known.epoch < next.epoch;
  if (known.origin !== next.origin) return false;
  if (known.size !== next.size) return known.size < next.size;
  return Buffer.compare(known.root, next.root) === 0;
}

/** JSON, then HMAC-SHA-256 of it. */
function sealAnchor(anchor: Anchor, key: MacKey): Uint8Array {
  const { origin, epoch, size, root, bootId } = anchor;
  const text = Buffer.from(
    JSON.stringify({ origin, epoch, size, root: Buffer.from(root).toString('hex'), bootId }),
  );
  return Buffer.concat([text, key.mac(text)]);
}

function openAnchor(sealed: Uint8Array, key: MacKey): Anchor | undefined {
  if (sealed.length <= 32) return undefined;
  const text = sealed.subarray(0, -32);
  const authentic = timingSafeEqual(key.mac(text), sealed.subarray(-32));
  if (!authentic) return undefined;
  const { origin, epoch, size, root, bootId } = JSON.parse(Buffer.from(text).toString());
  return { origin, epoch, size, root: Buffer.from(root, 'hex'), bootId };
}

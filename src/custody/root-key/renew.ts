import { randomFillSync } from 'node:crypto';
import { StartError } from '../../core/start-error.ts';
import type { Engine } from '../../engine/engine.ts';
import { type Reading, renewSource, rootSecretBytes } from './listed.ts';
import { rootName } from './live-root.ts';
import { changeRootSources, type ListedSource } from './sources-file.ts';

/**
 * A new root key, which every source of the list opens besides the key that it opens now; on disk when this resolves. Entries of
 * a rotation that did not come to begin are replaced. The caller wipes the bytes. Throws a StartError.
 */
export async function renewAll(
  listed: readonly ListedSource[],
  generation: number,
  engine: Engine,
  around: Reading,
): Promise<Uint8Array> {
  const secret = new Uint8Array(new ArrayBuffer(rootSecretBytes));
  randomFillSync(secret);
  const root = nameOfBytes(engine, secret);
  const current = listed.filter((source) => source.generation < generation);
  const renewed: Renewed[] = [];
  try {
    for (const source of current) {
      const id = freeId(source.id, [...listed, ...renewed.map(({ made }) => made)]);
      const made = await renewSource(
        source,
        secret,
        { id, generation, root, createdAtMs: Date.now() },
        around,
      );
      if (made.kind !== 'file') renewed.push({ of: source.id, made });
    }
    changeRootSources(around.dataDir, (now) => {
      requireNoOther(now ?? listed, listed, generation);
      return besides(now ?? listed, renewed, generation);
    });
    return secret;
  } catch (cause) {
    secret.fill(0);
    throw cause;
  }
}

interface Renewed {
  /** The id of the source that it comes of. */
  readonly of: string;
  readonly made: ListedSource;
}

/**
 * Wrapping takes seconds, in which the service that asked may end, and another begin a rotation: its entries are the only way to a
 * key that records may be under.
 */
function requireNoOther(
  now: readonly ListedSource[],
  listed: readonly ListedSource[],
  generation: number,
): void {
  const known = new Set(listed.map(({ root }) => root));
  if (now.some((source) => source.generation >= generation && !known.has(source.root)))
    throw new StartError('another rotation of the root key has begun meanwhile: nothing was written');
}

/** What was approved while the new ones were made, which takes seconds, is approved for both. */
function besides(
  now: readonly ListedSource[],
  renewed: readonly Renewed[],
  generation: number,
): ListedSource[] {
  const current = now.filter((source) => source.generation < generation);
  const next = renewed.map(({ of, made }) => {
    const before = current.find(({ id }) => id === of);
    return made.kind === 'tpm' && before?.kind === 'tpm' ? { ...made, approved: before.approved } : made;
  });
  return [...current, ...next];
}

const maxIdChars = 32;

/** `paper` becomes `paper-2`, and that `paper-3`. */
export function freeId(wanted: string, listed: readonly Pick<ListedSource, 'id'>[]): string {
  const taken = new Set(listed.map(({ id }) => id));
  if (!taken.has(wanted)) return wanted;
  const stem = wanted.replace(/-\d+$/, '').slice(0, maxIdChars - 6);
  for (let number = 2; ; number++) if (!taken.has(`${stem}-${number}`)) return `${stem}-${number}`;
}

/** See rootName. Of bytes that are in JavaScript already; they stay as they are. */
export function nameOfBytes(engine: Engine, secret: Uint8Array): string {
  const root = engine.openRoot({ kind: 'lent-page', fill: (page) => page.set(secret) });
  const name = rootName(engine, root);
  engine.closeRoot(root);
  return name;
}

import type { ListedSource } from '../../custody/root-key/listed-source.ts';
import { rootName } from '../../custody/root-key/live-root.ts';
import { opensWitness } from '../../custody/root-key/open-for-store.ts';
import { readRootEntry, readRotation, witnessKey } from '../../custody/root-key/rotation/rotation-state.ts';
import type { RootKeySource } from '../../custody/root-key/source.ts';
import { changeRootSources } from '../../custody/root-key/sources-file.ts';
import type { Store } from '../../store/store.ts';
import { type Bench, withStoppedDirectory } from './stopped-directory.ts';

/**
 * `now`: it gives the root key of the store. `next`: the one that a rotation goes over to, which was cut off. `left`: one of a
 * rotation that did not come to begin. `people`: it opens with the officers. Otherwise why it does not open.
 */
export type Opens = 'now' | 'next' | 'left' | 'people' | { readonly why: string };

export interface SourceStatus {
  readonly id: string;
  readonly kind: string;
  readonly place: string;
  readonly opens: Opens;
  /** Undefined: before today nobody looked. */
  readonly checkedBeforeMs: number | undefined;
}

export interface RootStatus {
  readonly generation: number;
  readonly root: string;
  readonly rotating: boolean;
  readonly sources: readonly SourceStatus[];
}

export function inWords(opens: Opens): string {
  if (typeof opens === 'object') return opens.why;
  return {
    now: 'opens',
    next: 'opens the next root key, to which a rotation goes over',
    left: 'is left of a rotation that did not begin; the next one replaces it',
    people: 'opens with the officers only: intaglio root join --check',
  }[opens];
}

/** Tries each source on its own, and notes in the list which open. */
export function rootStatus(bench: Bench): Promise<RootStatus> {
  return withStoppedDirectory(bench, async (stopped) => {
    const { sources, root, rotating, store } = stopped;
    const generation = (await readRootEntry(store, root.mac))?.value.generation ?? 1;
    const listed = sources.listed();
    const found: SourceStatus[] = [];
    const views = sources.views();
    for (const [index, view] of views.entries()) {
      const one = listed?.[index];
      const opens = needsPeople(one)
        ? 'people'
        : await triedBy(bench, store, one, sources.of(one), generation);
      found.push({ ...view, opens, checkedBeforeMs: one?.checkedAtMs });
    }
    if (listed !== undefined) {
      const checkedAtMs = Date.now();
      const opening = new Set(found.filter(({ opens }) => isGood(opens)).map(({ id }) => id));
      changeRootSources(bench.config.dataDir, (now) =>
        (now ?? listed).map((one) => (opening.has(one.id) ? { ...one, checkedAtMs } : one)),
      );
    }
    const current = rootName(bench.engine, root.current);
    return { generation, root: current, rotating, sources: found };
  });
}

function isGood(opens: Opens): boolean {
  return opens === 'now' || opens === 'next';
}

/** The list says of nobody's identity where it is. */
function needsPeople(source: ListedSource | undefined): boolean {
  if (source?.kind === 'shares') return source.identities === undefined;
  return source?.kind === 'recipients' && source.identity === undefined;
}

/** Whether one of these gives the store's root key. `listed`: as the list has it. `generation`: the one in use, to see what is left. */
export async function triedBy(
  { engine }: Bench,
  store: Store,
  listed: ListedSource | undefined,
  candidates: readonly RootKeySource[],
  generation = Number.POSITIVE_INFINITY,
): Promise<Opens> {
  const witness = await store.get(witnessKey);
  if (!witness.ok || witness.value === undefined) return { why: 'the store does not answer' };
  const rotation = await readRotation(store);
  let found: Opens = { why: 'missing' };
  for (const source of candidates) {
    try {
      if (!source.isThere()) continue;
      const root = engine.openRoot(await source.open());
      const opens = (sealed: Uint8Array) => opensWitness(engine, root, sealed);
      const [isNow, isNext] = [
        opens(witness.value.value),
        rotation !== undefined && opens(rotation.value.witness),
      ];
      // A rotation lists the next key before the store names it.
      const wasNext = listed !== undefined && listed.generation > generation;
      const isLeft = wasNext && rootName(engine, root) === listed.root;
      engine.closeRoot(root);
      if (isNow) return 'now';
      if (isNext) found = 'next';
      else if (isLeft && rotation === undefined) found = 'left';
      else found = { why: 'gives another key than the one of this store' };
    } catch (cause) {
      found = { why: (cause as Error).message };
    }
  }
  return found;
}

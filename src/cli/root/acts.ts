import { randomFillSync } from 'node:crypto';
import { StartError } from '../../core/start-error.ts';
import type { ListedSource } from '../../custody/root-key/listed-source.ts';
import { rootName } from '../../custody/root-key/live-root.ts';
import type { Reading } from '../../custody/root-key/read-source.ts';
import { readSource, rootSecretBytes } from '../../custody/root-key/read-source.ts';
import { nameOfBytes } from '../../custody/root-key/renew-all.ts';
import { readRootEntry } from '../../custody/root-key/rotation/rotation-state.ts';
import { listedPath } from '../../custody/root-key/secret-place.ts';
import type { RootKeySource } from '../../custody/root-key/source.ts';
import { changeRootSources, writeRootSources } from '../../custody/root-key/sources-file.ts';
import { makeSource, type WantedSource } from './new-source.ts';
import { inWords, triedBy } from './status.ts';
import {
  type Bench,
  readingOf,
  type StoppedDirectory,
  type StoppedStore,
  useOpened,
  withStoppedDirectory,
  withStoppedStore,
} from './stopped-directory.ts';

/** A root key for a directory that has none, in this source. */
export function initRoot(bench: Bench, wanted: WantedSource, id: string | undefined): Promise<void> {
  return withStoppedStore(
    bench,
    async (stopped) => {
      const { dataDir } = bench.config;
      if (stopped.hasRootKey) throw new StartError(`${dataDir} has a root key already: intaglio root status`);
      if (stopped.sources.listed() !== undefined)
        throw new StartError(
          `${dataDir} has a list of sources already: start the service, which makes the store of it`,
        );
      const secret = await newSecret(wanted, readingOf(bench, stopped));
      try {
        const of = { root: nameOfBytes(bench.engine, secret), generation: 1, listed: [], id };
        const { source, proof } = await makeSource(wanted, secret, of, readingOf(bench, stopped));
        writeRootSources(dataDir, [source]);
        await useOpened(bench, stopped, [ofBytes(secret)], async () => {});
        bench.say(`root key ${of.root} made; source ${source.id}: ${proof}`);
      } finally {
        secret.fill(0);
      }
    },
    true,
  );
}

/** A key that others hand over is theirs; all others are drawn here. */
async function newSecret(wanted: WantedSource, around: Reading): Promise<Uint8Array> {
  if (wanted.kind === 'descriptor' || wanted.kind === 'credential') {
    const given = { ...wanted, id: wanted.kind, createdAtMs: 0, generation: 1, root: '0'.repeat(16) };
    return readSource(given as ListedSource, around);
  }
  return randomFillSync(new Uint8Array(new ArrayBuffer(rootSecretBytes)));
}

/** Another source for the root key that there is, by whichever of its sources opens. */
export function addSource(bench: Bench, wanted: WantedSource, id: string | undefined): Promise<void> {
  return withStoppedDirectory(bench, async (stopped) => {
    const secret = await anySecret(bench, stopped);
    try {
      await listNew(bench, stopped, { wanted, id, secret });
    } finally {
      secret.fill(0);
    }
  });
}

/** The same by bytes that the officers' shares gave; the list's own sources need not open. `wanted` undefined: only looks. */
export function addJoined(
  bench: Bench,
  secret: Uint8Array,
  wanted: WantedSource | undefined,
  id: string | undefined,
): Promise<void> {
  return withStoppedDirectory(
    bench,
    async (stopped) => {
      bench.say(`the shares give the root key of this store, ${nameOfBytes(bench.engine, secret)}`);
      if (wanted !== undefined) await listNew(bench, stopped, { wanted, id, secret });
    },
    () => [ofBytes(secret)],
  );
}

interface Wanted {
  readonly wanted: WantedSource;
  readonly id: string | undefined;
  readonly secret: Uint8Array;
}

async function listNew(
  bench: Bench,
  stopped: StoppedDirectory,
  { wanted, id, secret }: Wanted,
): Promise<void> {
  requireQuiet(stopped);
  const { store, root } = stopped;
  const generation = (await readRootEntry(store, root.mac))?.value.generation ?? 1;
  const name = nameOfBytes(bench.engine, secret);
  const listed = stopped.sources.listed() ?? [configuredAsListed(bench, stopped, name, generation)];
  const of = { root: name, generation, listed, id };
  const { source, proof } = await makeSource(wanted, secret, of, readingOf(bench, stopped));
  changeRootSources(bench.config.dataDir, (now) => [...(now ?? listed), source]);
  bench.say(`source ${source.id} added: ${proof}`);
}

/** The source of the configuration as the list has it, from the first one on that is added. */
function configuredAsListed(
  { config }: Bench,
  { sources }: StoppedStore,
  root: string,
  generation: number,
): ListedSource {
  const common = { createdAtMs: Date.now(), generation, root };
  const [view] = sources.views();
  return view?.kind === 'descriptor'
    ? { ...common, id: 'descriptor', kind: 'descriptor', descriptor: config.rootKeyFd }
    : { ...common, id: 'file', kind: 'file', path: listedPath(config.dataDir, config.rootKeyFile) };
}

/** Refused for the last one, and where no other opens. */
export function removeSource(bench: Bench, id: string): Promise<void> {
  return withStoppedDirectory(bench, async (stopped) => {
    requireQuiet(stopped);
    const listed = stopped.sources.listed();
    const removed = listed?.find((one) => one.id === id);
    if (listed === undefined || removed === undefined)
      throw new StartError(`there is no source ${id}: intaglio root source list`);
    const kept = listed.filter((one) => one.id !== id);
    if (kept.length === 0)
      throw new StartError(
        `${id} is the last source of the root key: without it every key is lost. Add another first`,
      );
    const opening: string[] = [];
    const why: string[] = [];
    for (const one of kept) {
      const opens = await triedBy(bench, stopped.store, one, stopped.sources.of(one));
      if (opens === 'now') opening.push(one.id);
      else why.push(`${one.id}: ${inWords(opens)}`);
    }
    if (opening.length === 0)
      throw new StartError(`without ${id} no source opens here, and it stays (${why.join('; ')})`);
    changeRootSources(bench.config.dataDir, (now) => (now ?? listed).filter((one) => one.id !== id));
    bench.say(`source ${id} removed; ${opening.join(', ')} opens`);
    if (removed.kind === 'file')
      bench.say(`${removed.path} is still there: delete it yourself, with its copies`);
  });
}

function requireQuiet({ rotating }: StoppedStore): void {
  if (rotating)
    throw new StartError(
      'a rotation of the root key is under way: intaglio root rotate finishes it, or the next start',
    );
}

/** By the first source that gives the key of this store. */
async function anySecret(bench: Bench, stopped: StoppedDirectory): Promise<Uint8Array> {
  const listed = stopped.sources.listed() ?? [configuredAsListed(bench, stopped, '0'.repeat(16), 1)];
  const wanted = rootName(bench.engine, stopped.root.current);
  const why: string[] = [];
  for (const source of listed) {
    try {
      const secret = await readSource(source, readingOf(bench, stopped));
      if (nameOfBytes(bench.engine, secret) === wanted) return secret;
      secret.fill(0);
      why.push(`${source.id} gives another key`);
    } catch (cause) {
      if (!(cause instanceof StartError)) throw cause;
      why.push(cause.message);
    }
  }
  throw new StartError(`no source gives the root key here: ${why.join('; ')}`);
}

function ofBytes(secret: Uint8Array): RootKeySource {
  return {
    place: 'the key that was given',
    isThere: () => true,
    open: async () => ({ kind: 'lent-page', fill: (page) => page.set(secret) }),
  };
}

import { randomFillSync } from 'node:crypto';
import { resealStoreHead } from '../../assemble/store/store-head.ts';
import { systemClock } from '../../core/clock.ts';
import { StartError } from '../../core/start-error.ts';
import type { Reading } from '../../custody/root-key/listed.ts';
import { readSource, rootSecretBytes } from '../../custody/root-key/listed.ts';
import { rootName } from '../../custody/root-key/live-root.ts';
import { nameOfBytes, renewAll } from '../../custody/root-key/renew.ts';
import { RootRotation, type RotationEvent, type RotationParts } from '../../custody/root-key/rotation.ts';
import { readRootEntry } from '../../custody/root-key/rotation-state.ts';
import { listedPath } from '../../custody/root-key/secret-place.ts';
import type { RootKeySource } from '../../custody/root-key/source.ts';
import {
  changeRootSources,
  type ListedSource,
  writeRootSources,
} from '../../custody/root-key/sources-file.ts';
import { makeSource, type WantedSource } from './new-source.ts';
import { inWords, triedBy } from './status.ts';
import {
  type Bench,
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

/** Begins or finishes a rotation. `progress`: records looked at, of all. */
export function rotateStopped(
  bench: Bench,
  actor: string,
  progress: (done: number, total: number) => void,
): Promise<void> {
  return withStoppedDirectory(bench, (stopped) =>
    goOverStopped(bench, stopped, {
      ...{ actor, progress },
      renew: (generation) => renewHere(bench, stopped, generation),
      settle: (generation, name) => stopped.sources.settle(bench.engine, generation, name),
    }),
  );
}

interface GoingOver extends Pick<RotationParts, 'renew' | 'settle'> {
  readonly actor: string;
  readonly progress: (done: number, total: number) => void;
}

/** Seals every record anew under the next root key, or goes on with that. Throws a StartError. */
export async function goOverStopped(
  bench: Bench,
  { store, root, rotating }: Pick<StoppedDirectory, 'store' | 'root' | 'rotating'>,
  { actor, progress, renew, settle }: GoingOver,
): Promise<void> {
  const rotation = await RootRotation.open({
    ...{ engine: bench.engine, store, root, clock: systemClock, pauseMs: 0, overlapMs: 0, renew, settle },
    resealHead: () => resealStoreHead({ root, store }),
    report: (event) => tell(bench, event),
  });
  const timer = setInterval(() => {
    const { rotation: going } = rotation.state;
    if (going !== undefined) progress(going.done, going.total);
  }, 100);
  try {
    if (rotating) await rotation.resume();
    else {
      const begun = await rotation.begin(actor);
      if (!begun.ok) throw new StartError(begun.failure.hint ?? begun.failure.code);
    }
    await rotation.ended();
  } finally {
    clearInterval(timer);
    await rotation.close();
  }
}

/** In this process, which has no core dumps and ends soon: passphrases may be asked for at the terminal. */
async function renewHere(bench: Bench, stopped: StoppedDirectory, generation: number) {
  const listed = stopped.sources.listed();
  const { engine } = bench;
  if (listed === undefined) return stopped.sources.renew(engine, generation);
  const secret = await renewAll(listed, generation, engine, readingOf(bench, stopped));
  return engine.openRoot({
    kind: 'lent-page',
    fill(page) {
      page.set(secret);
      secret.fill(0);
    },
  });
}

function tell({ say }: Bench, event: RotationEvent): void {
  if (event.kind === 'resumed') say(`goes on with the rotation to generation ${event.generation}`);
  if (event.kind === 'delayed') throw event.cause;
  if (event.kind === 'done') {
    const { generation, root, before, records } = event.entry;
    say(
      `root key ${root} (generation ${generation}) in the place of ${before}; ${records} records sealed anew`,
    );
  }
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

function readingOf({ config, token, tpm, cloud }: Bench, { sources }: StoppedStore): Reading {
  const credentials = process.env.CREDENTIALS_DIRECTORY;
  const reading = { ...sources.around, dataDir: config.dataDir, credentials, tpm, cloud };
  return token === undefined ? reading : { ...reading, token };
}

function ofBytes(secret: Uint8Array): RootKeySource {
  return {
    place: 'the key that was given',
    isThere: () => true,
    open: async () => ({ kind: 'lent-page', fill: (page) => page.set(secret) }),
  };
}

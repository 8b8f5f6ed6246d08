import { existsSync, linkSync, renameSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { errorCode, syncPath } from '../../core/private-file.ts';
import type { SecretRule } from '../../core/secret-file.ts';
import { StartError } from '../../core/start-error.ts';
import type { Engine, RootRef } from '../../engine/engine.ts';
import { rootKeyApart } from './apart.ts';
import { descriptorRootKey } from './descriptor.ts';
import { fileRootKey } from './file.ts';
import { nextPath, sourcePlace } from './listed.ts';
import { rootName } from './live-root.ts';
import { absolutePath, type Surroundings } from './secret-place.ts';
import type { RootKeySource } from './source.ts';
import { changeRootSources, type ListedSource, readRootSources, type SecretPlace } from './sources-file.ts';

/** The source that the configuration names, where there is no list. */
export interface ConfiguredSource {
  readonly path: string;
  /** 0: the file. */
  readonly descriptor: number;
  /** In place of all others, the list too: of a configuration that holds the key itself. The last one is the next key. */
  readonly given?: readonly RootKeySource[] | undefined;
}

export interface SourceView {
  readonly id: string;
  readonly kind: ListedSource['kind'];
  readonly place: string;
  /** Undefined: of the configuration. */
  readonly generation: number | undefined;
}

/** The sources of one data directory's root key: its list, or the one of the configuration. */
export class RootSources {
  readonly around: Surroundings;
  readonly #configured: ConfiguredSource;

  constructor(dataDir: string, rule: SecretRule, configured: ConfiguredSource) {
    // The process that reads credentials finds them in its environment.
    this.around = { dataDir, rule, credentials: undefined };
    this.#configured = configured;
  }

  /** Undefined: there is no list. Throws a StartError. */
  listed(): readonly ListedSource[] | undefined {
    if (this.#configured.given !== undefined) return undefined;
    const read = readRootSources(this.around.dataDir);
    if (!read.ok) throw new StartError(read.failure.hint ?? 'the list of sources cannot be read');
    return read.value?.sources;
  }

  /** In the order in which they are tried. A file may have its next key beside it, while a rotation is under way. */
  all(): readonly RootKeySource[] {
    if (this.#configured.given !== undefined) return this.#configured.given;
    return this.listed()?.flatMap((source) => this.of(source)) ?? this.of(undefined);
  }

  /** Of one in the list; undefined: of the configuration. */
  of(listed: ListedSource | undefined): RootKeySource[] {
    if (listed !== undefined) return this.#sourcesOf(listed);
    const { path, descriptor } = this.#configured;
    return descriptor === 0 ? this.#files(path) : [descriptorRootKey(descriptor, this.around.rule)];
  }

  views(): readonly SourceView[] {
    const { given } = this.#configured;
    if (given !== undefined)
      return given.map(({ place }) => ({ id: 'given', kind: 'file', place, generation: undefined }));
    const listed = this.listed();
    if (listed !== undefined)
      return listed.map((source) => ({
        ...{ id: source.id, kind: source.kind, place: sourcePlace(source), generation: source.generation },
      }));
    const { path, descriptor } = this.#configured;
    return descriptor === 0
      ? [{ id: 'configured', kind: 'file', place: path, generation: undefined }]
      : [
          {
            ...{ id: 'configured', kind: 'descriptor', place: `descriptor ${descriptor}` },
            generation: undefined,
          },
        ];
  }

  /** A new root key in all sources, on disk when this resolves. Throws a StartError where one cannot have it. */
  async renew(engine: Engine, generation: number): Promise<RootRef> {
    if (this.#configured.given !== undefined)
      throw new StartError('the configuration gives the root key: intaglio dek reseal changes it');
    const listed = this.listed();
    if (listed !== undefined) {
      const apart = await rootKeyApart({ do: 'renew', generation }, this.around, descriptorsOf(listed));
      return engine.openRoot(apart);
    }
    const { path, descriptor } = this.#configured;
    if (descriptor !== 0)
      throw new StartError(
        `descriptor ${descriptor} is handed over by whoever starts the service, and cannot be given another key here: add another source first (intaglio root source add)`,
      );
    const next = nextPath(path);
    // Of a rotation that did not come to begin: nothing is sealed under it.
    rmSync(next, { force: true });
    return engine.openRoot({ kind: 'file-create', path: next });
  }

  /**
   * The key of this name is the one: files take it, and the list keeps no entry of another. Nothing where it was done before. The
   * key before stays beside its file, for old backups.
   */
  settle(engine: Engine, generation: number, root: string): void {
    if (this.#configured.given !== undefined) return;
    const takeNext = (path: string) => {
      if (nameOfFile(engine, nextPath(path)) === root) takeFile(path, generation);
    };
    const listed = this.listed();
    if (listed === undefined) {
      const { path, descriptor } = this.#configured;
      if (descriptor === 0) takeNext(path);
      return;
    }
    for (const source of listed)
      if (source.kind === 'file') takeNext(absolutePath(this.around.dataDir, source.path));
    const keptOf = (sources: readonly ListedSource[]) =>
      sources
        .filter((source) => source.kind === 'file' || source.root === root)
        .map((source) => ({ ...source, generation, root }));
    const kept = keptOf(listed);
    if (kept.length > 0 && JSON.stringify(kept) !== JSON.stringify(listed))
      changeRootSources(this.around.dataDir, (now) => keptOf(now ?? listed));
  }

  #sourcesOf(source: ListedSource): RootKeySource[] {
    const { around } = this;
    switch (source.kind) {
      case 'file':
        return this.#files(absolutePath(around.dataDir, source.path)).map(withoutMaking);
      case 'descriptor':
        return [descriptorRootKey(source.descriptor, around.rule)];
      default:
        return [apartSource(source, around)];
    }
  }

  #files(path: string): RootKeySource[] {
    const { rule } = this.around;
    return [fileRootKey(path, rule), withoutMaking(fileRootKey(nextPath(path), rule))];
  }
}

function withoutMaking(source: RootKeySource): RootKeySource {
  return {
    get place() {
      return source.place;
    },
    isThere: () => source.isThere(),
    open: () => source.open(),
  };
}

/**
 * A cloud KMS has 20 s (see cloudLimits) and a process to begin; no terminal is asked. Where a library holds its process up, the
 * next source has its turn after this.
 */
const cloudOpensWithinMs = 60_000;

function apartSource(source: ListedSource, around: Surroundings): RootKeySource {
  const { id, kind } = source;
  const within = kind === 'aws' || kind === 'gcp' || kind === 'azure' ? cloudOpensWithinMs : undefined;
  return {
    place: sourcePlace(source),
    isThere: () => true,
    open: () => rootKeyApart({ do: 'open', id }, around, descriptorsOf([source]), within),
  };
}

/** Open descriptors that sources read, as the process that opens them has to have them, too. */
function descriptorsOf(listed: readonly ListedSource[]): number[] {
  const places = listed.flatMap((source): SecretPlace[] => {
    if (source.kind === 'passphrase') return [source.passphrase];
    if (source.kind === 'pkcs11') return [source.pin];
    if (source.kind === 'tpm') return source.pin === undefined ? [] : [source.pin];
    return source.kind === 'recipients' && source.identity !== undefined ? [source.identity] : [];
  });
  return places.flatMap((place) => (place.from === 'descriptor' ? [place.descriptor] : []));
}

/** Undefined where there is no key that could be opened: a rotation that did not come to begin may have left half of one. */
function nameOfFile(engine: Engine, path: string): string | undefined {
  if (!existsSync(path)) return undefined;
  let root: RootRef;
  try {
    root = engine.openRoot({ kind: 'file', path });
  } catch {
    return undefined;
  }
  const name = rootName(engine, root);
  engine.closeRoot(root);
  return name;
}

/** Every step may be the last before a crash, and all of it may be done again. */
function takeFile(path: string, generation: number): void {
  const next = nextPath(path);
  const retired = `${path}.retired-${generation - 1}`;
  try {
    if (existsSync(path) && !existsSync(retired)) linkSync(path, retired);
    renameSync(next, path);
    syncPath(dirname(path));
  } catch (cause) {
    throw new StartError(`${next} cannot take the place of ${path} (${errorCode(cause)})`, { cause });
  }
}

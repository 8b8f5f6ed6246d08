import { existsSync, readdirSync, readFileSync, realpathSync, statSync } from 'node:fs';
import { isAbsolute, join, relative, resolve } from 'node:path';
import type { ListedSource, SecretPlace } from '../custody/root-key/listed-source.ts';
import { readRootSources } from '../custody/root-key/sources-file.ts';
import { filesBelow, type SourceFile } from './log-part.ts';
import type { BackupHead } from './manifest.ts';
import { BackupRefusal } from './refusal.ts';

/**
 * Not of this part. Store and audit log have parts of their own. `kms.db` is a name for the pages of the store, which hold what was
 * destroyed. The lines are written again from the audit log, and snapshots of DEKs are for the directory that they lie in.
 */
const leftAway: ReadonlySet<string> = new Set([
  ...['store', 'audit', 'kms.db', 'kms-audit.log', 'kms-audit.head', 'kms-deks-backup'],
]);
/** A data directory has a dozen files; each is a secret, a list, or a counter. */
const maxFiles = 1_000;
const maxFileBytes = 64 * 1024 * 1024;
const rootKeyBytes = 32;

export interface DataPlaces {
  readonly dataDir: string;
  readonly auditDir: string;
  /** Of the settings: the one source where there is no list of them. */
  readonly rootKeyFile: string;
  /** Not 0: the service is handed the key, and it is in no file that is known here. */
  readonly rootKeyFd: number;
}

export interface DataPart {
  readonly files: readonly SourceFile[];
  readonly rootKey: BackupHead['rootKey'];
}

/** The files of a data directory beside store and audit log: secrets, macaroon keys, what the root key's sources keep. */
export function dataPart(places: DataPlaces, withRootKey: boolean): DataPart {
  const { dataDir } = places;
  const sources = rootSources(places);
  const leftOut = new Set(sources.secrets);
  const raw = sources.raw.filter((path) => existsSync(path)).map((path) => realpathSync(path));
  for (const path of raw) leftOut.add(path);
  const files = ordinaryFiles(places).filter(
    (file) => !('path' in file) || !leftOut.has(realpathSync(file.path)),
  );
  const kept = withRootKey ? raw : [];
  return {
    files: [...files, ...kept.map((path) => rawRootKey(dataDir, path))],
    rootKey: [
      ...sources.raw.map((path) => ({
        source: `file ${path}`,
        inside: withRootKey && raw.includes(existsSync(path) ? realpathSync(path) : path),
      })),
      ...sources.others,
    ],
  };
}

function ordinaryFiles({ dataDir, auditDir }: DataPlaces): SourceFile[] {
  // HEAD comes with the log.
  const fits = (name: string) => name !== 'audit.head' && !/\.(new|tmp|sock|partial)$/.test(name);
  const files = readdirSync(dataDir, { withFileTypes: true }).flatMap((entry): SourceFile[] => {
    const path = join(dataDir, entry.name);
    if (entry.name.startsWith('.') || leftAway.has(entry.name) || resolve(path) === resolve(auditDir))
      return [];
    if (entry.isDirectory()) return filesBelow(path, `data/${entry.name}`, fits);
    // A secret that is mounted is a link to its file.
    const stat = statSync(path, { throwIfNoEntry: false });
    if (stat?.isFile() !== true || !fits(entry.name)) return [];
    return [{ name: `data/${entry.name}`, path, bytes: stat.size }];
  });
  const large = files.find((file) => 'path' in file && file.bytes > maxFileBytes);
  if (large !== undefined || files.length > maxFiles) {
    throw new BackupRefusal(
      'too_large',
      `${dataDir} holds more than a data directory does${large === undefined ? '' : `: ${large.name}`}`,
    );
  }
  return files;
}

/** One that lies elsewhere comes into the data directory, under the name that the settings have for it by default. */
function rawRootKey(dataDir: string, path: string): SourceFile {
  const inside = relative(realpathSync(dataDir), path);
  const name = inside.startsWith('..') || isAbsolute(inside) ? 'root.key' : inside;
  const content = readFileSync(path);
  if (content.length !== rootKeyBytes)
    throw new BackupRefusal('source_unusable', `${path} is no raw root key of ${rootKeyBytes} bytes`);
  return { name: `data/${name}`, content };
}

interface RootSources {
  /** Files with the key in clear. */
  readonly raw: readonly string[];
  /** Files with a passphrase, a PIN or an identity, which open a source: never in the backup beside it. */
  readonly secrets: readonly string[];
  readonly others: BackupHead['rootKey'];
}

function rootSources({ dataDir, rootKeyFile, rootKeyFd }: DataPlaces): RootSources {
  const listed = readRootSources(dataDir);
  if (!listed.ok)
    throw new BackupRefusal('source_unusable', listed.failure.hint ?? 'the root key sources cannot be read');
  if (listed.value === undefined) {
    return rootKeyFd === 0
      ? { raw: [resolve(rootKeyFile)], secrets: [], others: [] }
      : { raw: [], secrets: [], others: [{ source: `descriptor ${rootKeyFd}`, inside: false }] };
  }
  const { sources } = listed.value;
  const at = (path: string) => resolve(dataDir, path);
  return {
    raw: sources.flatMap((each) => (each.kind === 'file' ? [at(each.path)] : [])),
    secrets: sources.flatMap(secretPaths).map((path) => real(at(path))),
    others: sources
      .filter(({ kind }) => kind !== 'file')
      .map((each) => ({ source: `${each.kind} ${each.id}`, inside: isInside(dataDir, each) })),
  };
}

/** A descriptor or a credential is handed to the service; officers' shares may lie elsewhere. */
function isInside(dataDir: string, source: ListedSource): boolean {
  if (source.kind === 'shares')
    return !relative(dataDir, resolve(dataDir, source.directory)).startsWith('..');
  return source.kind !== 'descriptor' && source.kind !== 'credential';
}

function secretPaths(source: ListedSource): readonly string[] {
  switch (source.kind) {
    case 'passphrase':
      return pathOf(source.passphrase);
    case 'recipients':
      return pathOf(source.identity);
    case 'pkcs11':
      return pathOf(source.pin);
    case 'shares':
      return source.identities ?? [];
    default:
      return [];
  }
}

function pathOf(place: SecretPlace | undefined): readonly string[] {
  return place?.from === 'file' ? [place.path] : [];
}

const real = (path: string) => (existsSync(path) ? realpathSync(path) : path);

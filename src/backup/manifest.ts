import { type Static, Type } from '@sinclair/typebox';
import { TypeCompiler } from '@sinclair/typebox/compiler';
import { BackupRefusal } from './refusal.ts';

/** The first entry of a backup, and the last one. */
export const headName = 'backup.json';
export const manifestName = 'manifest.json';

/** Another number is another layout. */
const format = 1;
const closed = { additionalProperties: false } as const;
const count = Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER });
const text = Type.String({ maxLength: 4_096 });

const tree = Type.Object(
  { origin: text, epoch: count, size: count, root: Type.String({ pattern: '^[0-9a-f]{64}$' }) },
  closed,
);

const head = Type.Object(
  {
    format: Type.Integer({ minimum: 1 }),
    /** A UUID, to tell backups apart. */
    id: Type.String({ pattern: '^[0-9a-f-]{36}$' }),
    /** The version of this program that made it. */
    version: text,
    createdAtMs: count,
    /** It was made beside a service that wrote on: the log goes further than the store. */
    live: Type.Boolean(),
    /** Of the store's file, in the order of their numbers in the store's pieces. */
    databases: Type.Array(Type.String({ pattern: '^[a-z]{1,32}$' }), { minItems: 1, maxItems: 8 }),
    /** Where the root key comes from, in words; `inside` is whether it can be opened with what is in here and its secret. */
    rootKey: Type.Array(Type.Object({ source: text, inside: Type.Boolean() }, closed), { maxItems: 32 }),
  },
  closed,
);

const manifest = Type.Object(
  {
    entries: Type.Array(
      Type.Object({ name: text, bytes: count, sha256: Type.String({ pattern: '^[0-9a-f]{64}$' }) }, closed),
    ),
    /** Of the key store. */
    records: count,
    /** The newest checkpoint that the log in here continues; absent where there was none yet. */
    checkpoint: Type.Optional(tree),
    /** The store's own memory of the log. */
    anchorSize: count,
  },
  closed,
);

export type BackupHead = Static<typeof head>;
export type Manifest = Static<typeof manifest>;
export type BackupTree = Static<typeof tree>;

export const newHead = (of: Omit<BackupHead, 'format'>): BackupHead => ({ format, ...of });

const compiledHead = TypeCompiler.Compile(head);
const compiledManifest = TypeCompiler.Compile(manifest);

export function parseHead(bytes: Uint8Array): BackupHead {
  const found = json(bytes);
  const { format: number } = (found ?? {}) as { format?: unknown };
  if (typeof number === 'number' && number !== format)
    throw new BackupRefusal('unknown_version', `the backup has the format ${number}, and not ${format}`);
  if (!compiledHead.Check(found)) throw new BackupRefusal('not_a_backup', 'this is no backup of intaglio');
  return found;
}

export function parseManifest(bytes: Uint8Array): Manifest {
  const found = json(bytes);
  if (!compiledManifest.Check(found))
    throw new BackupRefusal('damaged', 'the backup is damaged: its manifest cannot be read');
  return found;
}

function json(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch {
    return undefined;
  }
}

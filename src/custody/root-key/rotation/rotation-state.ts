import { Type } from '@sinclair/typebox';
import { TypeCompiler } from '@sinclair/typebox/compiler';
import { decodeBase64, encodeBase64 } from '../../../core/bytes.ts';
import { StartError } from '../../../core/start-error.ts';
import { authenticated, openAuthenticated, type RecordMac } from '../../../keys/authenticity.ts';
import type { Change, Store } from '../../../store/store.ts';

/** The store's place for a key that only the right root key opens. */
export const witnessKey = 'meta/root-witness';

/**
 * The entry of a rotation under way: from before the first record goes over, to the commit that replaces the witness. Only its
 * own witness vouches for it, which a key of the sources opens.
 */
export const rotationKey = 'meta/root-rotation';

/** The entry of the root key that is in use, from the first rotation on. */
const rootEntryKey = 'meta/root';

const person = Type.String({ maxLength: 512 });
const generation = Type.Integer({ minimum: 1, maximum: 2 ** 31 });
const name = Type.String({ pattern: '^[0-9a-f]{16}$' });
const common = { v: Type.Literal(1), generation, root: name, before: name, actor: person };

const rotationShape = TypeCompiler.Compile(
  Type.Object(
    { ...common, startedAtMs: Type.Integer({ minimum: 0 }), witness: Type.String({ maxLength: 1_024 }) },
    { additionalProperties: false },
  ),
);
const rootShape = TypeCompiler.Compile(
  Type.Object(
    {
      ...common,
      ...{ records: Type.Integer({ minimum: 0 }), rotatedAtMs: Type.Integer({ minimum: 0 }) },
      /** True: the audit log has it. */
      recorded: Type.Boolean(),
    },
    { additionalProperties: false },
  ),
);

/** `generation` and `root` are of the next key; `before` is the name of the present one. */
export interface RotationEntry {
  readonly generation: number;
  readonly root: string;
  readonly before: string;
  readonly actor: string;
  readonly startedAtMs: number;
  /** A witness under the next key. */
  readonly witness: Uint8Array;
}

export interface RootEntry {
  readonly generation: number;
  readonly root: string;
  readonly before: string;
  readonly actor: string;
  /** Records that were resealed. */
  readonly records: number;
  readonly rotatedAtMs: number;
  readonly recorded: boolean;
}

export interface ReadEntry<T> {
  readonly value: T;
  readonly revision: number;
}

/** Undefined: nothing goes over. Throws a StartError. */
export async function readRotation(store: Pick<Store, 'get'>): Promise<ReadEntry<RotationEntry> | undefined> {
  const entry = await store.get(rotationKey);
  if (!entry.ok) throw new StartError('the store does not answer');
  if (entry.value === undefined) return undefined;
  const stored = parsed(rotationShape, entry.value.value);
  const witness = stored && decodeBase64(stored.witness, 1_024);
  if (stored === undefined || witness === undefined)
    throw new StartError(`${rotationKey} in the store cannot be read: restore it from your copy`);
  return { value: { ...stored, witness }, revision: entry.value.revision };
}

export function rotationChange(rotation: RotationEntry, expectedRevision: number): Change {
  const { generation, root, before, actor, startedAtMs } = rotation;
  const witness = encodeBase64(rotation.witness);
  const stored = { v: 1, generation, root, before, actor, startedAtMs, witness };
  return { key: rotationKey, value: Buffer.from(JSON.stringify(stored)), expectedRevision };
}

/** Undefined before the first rotation. Throws a StartError. */
export async function readRootEntry(
  store: Pick<Store, 'get'>,
  mac: RecordMac,
): Promise<ReadEntry<RootEntry> | undefined> {
  const entry = await store.get(rootEntryKey);
  if (!entry.ok) throw new StartError('the store does not answer');
  if (entry.value === undefined) return undefined;
  const opened = openAuthenticated(rootEntryKey, entry.value.value, mac);
  const stored = opened && parsed(rootShape, opened.text);
  if (stored === undefined)
    throw new StartError(`${rootEntryKey} in the store is not authentic: restore it from your copy`);
  return { value: stored, revision: entry.value.revision };
}

/** The rotation that the audit log does not have yet. Throws a StartError. */
export async function unrecordedRotation(
  store: Pick<Store, 'get'>,
  mac: RecordMac,
): Promise<ReadEntry<RootEntry> | undefined> {
  const entry = await readRootEntry(store, mac);
  return entry?.value.recorded === false ? entry : undefined;
}

/** Marks a rotation as recorded. One that came meanwhile is recorded next. */
export async function markRecorded(
  store: Pick<Store, 'commit'>,
  mac: RecordMac,
  { value, revision }: ReadEntry<RootEntry>,
): Promise<void> {
  const change = rootEntryChange({ ...value, recorded: true }, mac);
  await store.commit([{ ...change, expectedRevision: revision }]);
}

export function rootEntryChange(entry: RootEntry, mac: RecordMac): Change {
  const { generation, root, before, actor, records, rotatedAtMs, recorded } = entry;
  const stored = { v: 1, generation, root, before, actor, records, rotatedAtMs, recorded };
  return { key: rootEntryKey, value: authenticated(rootEntryKey, JSON.stringify(stored), mac) };
}

function parsed<T>(shape: { Check(value: unknown): value is T }, bytes: Uint8Array): T | undefined {
  try {
    const found: unknown = JSON.parse(Buffer.from(bytes).toString());
    return shape.Check(found) ? found : undefined;
  } catch {
    return undefined;
  }
}

import { type Static, Type } from '@sinclair/typebox';
import { TypeCompiler } from '@sinclair/typebox/compiler';
import { decodeBase64, encodeBase64 } from '../../core/bytes.ts';
import { authenticated, openAuthenticated, type RecordMac } from '../../keys/authenticity.ts';

/**
 * A data encryption key (DEK). The engine alone sees its bytes; the record has them wrapped by a version of the key encryption
 * key (KEK). Times are UTC milliseconds.
 */
export interface Dek {
  readonly id: string;
  /** The thread that it was made for. Undefined: it was made for none. */
  readonly threadId?: string;
  readonly state: 'active' | 'destroyed';
  readonly createdAtMs: number;
  /** Ascending: the last one encrypts, all of them decrypt. Empty where the DEK is destroyed. */
  readonly versions: readonly DekVersion[];
}

export interface DekVersion {
  readonly version: number;
  /** The version of the KEK that wraps it. */
  readonly kek: number;
  readonly wrapped: Uint8Array;
  readonly createdAtMs: number;
  /** It came from another service, whose ciphertexts are bound to no key id. */
  readonly foreign?: true;
}

/** True where a version of the KEK before this one wraps some version of the DEK. */
export function isBehind({ versions }: Dek, kekVersion: number): boolean {
  return versions.some(({ kek }) => kek < kekVersion);
}

export function newestOf({ versions }: Dek): DekVersion {
  return versions.at(-1) as DekVersion;
}

/** A key of AES-256-GCM. */
export const dekBytes = 32;

/** Decryption without a version tries each of them. */
export const maxDekVersions = 16;

const id = /^[A-Za-z0-9._:-]{1,128}$/;
/** An id is also the name of a file (snapshots.ts), so `.` and `..` are none. */
export function isDekId(text: string): boolean {
  return id.test(text) && text !== '.' && text !== '..';
}

/** A thread's id has 1 to 256 characters of printable ASCII, without blanks. */
export function isThreadId(text: string): boolean {
  return /^[\x21-\x7e]{1,256}$/.test(text);
}

export const dekPrefix = 'meta:';

export function dekStoreKey(dekId: string): string {
  return `${dekPrefix}${dekId}`;
}

/** Ids and AADs may contain colons: the length says where the id ends. */
const bindingOf = (dekId: string) => `${bindingPrefix}${dekId.length}::${dekId}::`;
const bindingPrefix = 'intaglio::dek::';

/** The AAD of a version's wrapping, which so opens as no other version and as no other DEK. */
export function wrapAadOf(dekId: string, version: number): Uint8Array {
  return Buffer.from(`${bindingOf(dekId)}v${version}`);
}

/** The AAD of what a DEK encrypts: its id, and the caller's AAD behind it. */
export function boundAad(dekId: string, aad: Uint8Array): Uint8Array {
  return Buffer.concat([Buffer.from(bindingOf(dekId)), aad]);
}

/** True of an AAD that could be one of `boundAad`: imported DEKs must not take it as a bare one. */
export function isBinding(aad: Uint8Array): boolean {
  return Buffer.from(aad.subarray(0, bindingPrefix.length)).toString('latin1') === bindingPrefix;
}

const storedDek = Type.Object(
  {
    v: Type.Literal(1),
    id: Type.String(),
    thread: Type.Optional(Type.String()),
    state: Type.Union([Type.Literal('active'), Type.Literal('destroyed')]),
    created: Type.Integer({ minimum: 0 }),
    versions: Type.Array(
      Type.Object(
        {
          n: Type.Integer({ minimum: 1 }),
          kek: Type.Integer({ minimum: 1 }),
          wrapped: Type.String(),
          created: Type.Integer({ minimum: 0 }),
          foreign: Type.Optional(Type.Literal(true)),
        },
        { additionalProperties: false },
      ),
      { maxItems: maxDekVersions },
    ),
  },
  { additionalProperties: false },
);
const shape = TypeCompiler.Compile(storedDek);
type Stored = Static<typeof storedDek>;

export function encodeDek(dek: Dek, mac: RecordMac): Uint8Array {
  return authenticated(dekStoreKey(dek.id), textOf(dek), mac);
}

/** The JSON of a record, and of a snapshot. */
export function textOf({ id, threadId, state, createdAtMs, versions }: Dek): string {
  const stored: Stored = {
    ...{ v: 1 as const, id },
    ...(threadId === undefined ? undefined : { thread: threadId }),
    ...{ state, created: createdAtMs },
    versions: versions.map(({ version, kek, wrapped, createdAtMs: created, foreign }) => ({
      ...{ n: version, kek, wrapped: encodeBase64(wrapped), created },
      ...(foreign && { foreign }),
    })),
  };
  return JSON.stringify(stored);
}

/** Undefined: the record is not authentic, or is of another store key. */
export function decodeDek(storeKey: string, value: Uint8Array, mac: RecordMac): Dek | undefined {
  const opened = openAuthenticated(storeKey, value, mac);
  if (opened === undefined || opened.rest.length > 0) return undefined;
  const stored = parsed(Buffer.from(opened.text).toString());
  return stored !== undefined && dekStoreKey(stored.id) === storeKey ? dekOf(stored) : undefined;
}

/** Undefined: `textOf` has not made this text. */
export function dekIn(text: string): Dek | undefined {
  const stored = parsed(text);
  return stored === undefined ? undefined : dekOf(stored);
}

function parsed(text: string): Stored | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return shape.Check(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

/** A wrapped DEK has 60 bytes: nonce[12], key[32], tag[16]. A token's wrapping may be longer. */
const maxWrappedBytes = 256;

function dekOf({ id, thread, state, created, versions }: Stored): Dek | undefined {
  const found: DekVersion[] = [];
  for (const { n, kek, wrapped, created: createdAtMs, foreign } of versions) {
    const bytes = decodeBase64(wrapped, maxWrappedBytes);
    if (bytes === undefined || n <= (found.at(-1)?.version ?? 0)) return undefined;
    found.push({ version: n, kek, wrapped: bytes, createdAtMs, ...(foreign && { foreign }) });
  }
  if ((state === 'active') !== found.length > 0) return undefined;
  return {
    ...{ id, state, createdAtMs: created, versions: found },
    ...(thread === undefined ? undefined : { threadId: thread }),
  };
}

import { type TSchema, Type } from '@sinclair/typebox';
import { TypeCompiler } from '@sinclair/typebox/compiler';
import { decodeBase64, encodeBase64 } from '../core/bytes.ts';
import { type Kid, maxVersion, parseKid } from './kid.ts';
import { auditDurabilities, type KeyHead, type KeyPart, type KeyVersion } from './record.ts';

/**
 * Key records as bytes: JSON with a schema number `v`, byte strings in base64, no member that is not known. What a
 * reader does not accept in full is a corrupt record and gives undefined; the caller decides what that means.
 */

/** Public and sealed parts: an RSA-4096 key is 2.4 KiB of PKCS#8. */
const maxPartBytes = 16 * 1024;

const time = Type.Integer({ minimum: 0 });
const version = Type.Integer({ minimum: 1, maximum: maxVersion });
const state = Type.Union([Type.Literal('active'), Type.Literal('destroyed')]);

function record<T extends Record<string, TSchema>>(members: T) {
  const schema = Type.Object(members, { additionalProperties: false });
  return TypeCompiler.Compile(schema);
}

/** Tenant, purpose and algorithm are in the id and would only be able to contradict it. */
const headShape = record({
  v: Type.Literal(1),
  id: Type.String(),
  state,
  current: version,
  created: time,
  backend: Type.Literal('software'),
  audit: Type.Optional(Type.Union(auditDurabilities.map((level) => Type.Literal(level)))),
});

const versionShape = record({
  v: Type.Literal(1),
  id: Type.String(),
  version,
  state,
  created: time,
  parts: Type.Array(
    Type.Object(
      { pub: Type.String(), sealed: Type.Optional(Type.String()) },
      { additionalProperties: false },
    ),
    { minItems: 1, maxItems: 8 },
  ),
});

const operationShape = record({
  v: Type.Literal(1),
  at: time,
  digest: Type.String(),
  id: Type.String(),
  version: Type.Optional(version),
});

/** What an op_id did: enough to give the same answer again from the key's records, which never go away. */
export interface OperationRecord {
  readonly atMs: number;
  /** SHA-256 of what was asked, 32 bytes. */
  readonly digest: Uint8Array;
  /** The key it made or changed. */
  readonly id: string;
  /** The version it made or destroyed; absent when it destroyed the whole key. */
  readonly version?: number;
}

export function headKey(id: string): string {
  return `key/${id}`;
}

/** Ten digits, so that the order of the names is the order of the versions. */
export function versionKey(id: string, number: number): string {
  return `${versionPrefix(id)}${String(number).padStart(10, '0')}`;
}

export function versionPrefix(id: string): string {
  return `ver/${id}#`;
}

export const operationPrefix = 'op/';

export function operationKey(tenant: string, operationId: string): string {
  return `${operationPrefix}${tenant}/${operationId}`;
}

export function encodeHead(head: KeyHead): Uint8Array {
  return toBytes<typeof headShape>({
    v: 1,
    id: head.id,
    state: head.state,
    current: head.currentVersion,
    created: head.createdAtMs,
    backend: head.backend,
    ...(head.auditDurability === undefined ? undefined : { audit: head.auditDurability }),
  });
}

/** The head that belongs under this store key. */
export function decodeHead(storeKey: string, bytes: Uint8Array): KeyHead | undefined {
  const stored = fromBytes(headShape, bytes);
  if (stored === undefined || headKey(stored.id) !== storeKey) return undefined;
  const kid = parseKid(stored.id);
  if (kid === undefined || kid.version !== undefined) return undefined;
  return {
    id: kid.id,
    tenant: kid.tenant,
    purpose: kid.purpose,
    alg: kid.algorithm.name,
    state: stored.state,
    currentVersion: stored.current,
    createdAtMs: stored.created,
    backend: stored.backend,
    ...(stored.audit === undefined ? undefined : { auditDurability: stored.audit }),
  };
}

export function encodeVersion(keyVersion: KeyVersion): Uint8Array {
  return toBytes<typeof versionShape>({
    v: 1,
    id: keyVersion.id,
    version: keyVersion.version,
    state: keyVersion.state,
    created: keyVersion.createdAtMs,
    parts: keyVersion.parts.map(({ publicKey, sealed }) => ({
      pub: encodeBase64(publicKey),
      ...(sealed === undefined ? {} : { sealed: encodeBase64(sealed) }),
    })),
  });
}

/** The version that belongs under this store key, for a key of this kid's algorithm. */
export function decodeVersion(storeKey: string, kid: Kid, bytes: Uint8Array): KeyVersion | undefined {
  const stored = fromBytes(versionShape, bytes);
  if (stored === undefined || versionKey(stored.id, stored.version) !== storeKey || stored.id !== kid.id) {
    return undefined;
  }
  if (stored.parts.length !== kid.algorithm.components.length) return undefined;
  const parts: KeyPart[] = [];
  for (const part of stored.parts) {
    const publicKey = decodeBase64(part.pub, maxPartBytes);
    if (publicKey === undefined) return undefined;
    if (part.sealed === undefined) {
      // An active version has all its private parts and a destroyed one none.
      if (stored.state === 'active') return undefined;
      parts.push({ publicKey });
      continue;
    }
    const sealed = decodeBase64(part.sealed, maxPartBytes);
    if (sealed === undefined || stored.state === 'destroyed') return undefined;
    parts.push({ publicKey, sealed });
  }
  return {
    id: stored.id,
    version: stored.version,
    state: stored.state,
    createdAtMs: stored.created,
    parts,
  };
}

export function encodeOperation(operation: OperationRecord): Uint8Array {
  return toBytes<typeof operationShape>({
    v: 1,
    at: operation.atMs,
    digest: encodeBase64(operation.digest),
    id: operation.id,
    ...(operation.version === undefined ? {} : { version: operation.version }),
  });
}

export function decodeOperation(bytes: Uint8Array): OperationRecord | undefined {
  const stored = fromBytes(operationShape, bytes);
  if (stored === undefined) return undefined;
  const digest = decodeBase64(stored.digest, 32);
  const kid = parseKid(stored.id);
  if (digest?.byteLength !== 32 || kid === undefined || kid.version !== undefined) return undefined;
  return {
    atMs: stored.at,
    digest,
    id: stored.id,
    ...(stored.version === undefined ? {} : { version: stored.version }),
  };
}

type Shape = ReturnType<typeof record>;
type Stored<S> = S extends { Check(value: unknown): value is infer T } ? T : never;

function toBytes<S extends Shape>(stored: Stored<S>): Uint8Array {
  return Buffer.from(JSON.stringify(stored));
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

function fromBytes<T>(shape: { Check(value: unknown): value is T }, bytes: Uint8Array): T | undefined {
  try {
    const stored: unknown = JSON.parse(utf8.decode(bytes));
    return shape.Check(stored) ? stored : undefined;
  } catch {
    return undefined;
  }
}

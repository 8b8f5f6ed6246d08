import type { AuditEvent } from '../audit-log.ts';

/**
 * A record as it is stored and hashed: RFC 8785 (JCS) JSON, so members in the order of their names, integers only.
 * The bytes on disk are the bytes that were hashed; nobody writes them anew to verify.
 */
export interface AuditRecord {
  readonly actor: string;
  readonly alg: string;
  readonly attestation?: { readonly class: string; readonly sha256: string };
  readonly data?: Readonly<Record<string, string | number>>;
  /** hmac-sha256:<kid>:<hex>, commit:<hex>, b3:<hex>, or none. */
  readonly input_hash: string;
  readonly key_id: string;
  readonly key_version: number;
  readonly op_id: string;
  readonly purpose: string;
  readonly result: string;
  readonly seq: number;
  readonly tenant: string;
  /** Microseconds since 1970, never less than in the record before. */
  readonly ts: number;
  readonly type?: string;
  readonly v: 1;
}

/** 2,048 slots of this size are the 8 MiB that may wait. */
const maxRecordBytes = 4_096;
/** Only the log's own records, which hold a verifier key of ML-DSA-44 (1,781 characters) or two. */
export const maxOwnRecordBytes = 8_192;

/** key_id of the records that the log writes about itself. Keys of the service have slashes in theirs. */
export const logKeyId = 'audit';

// Nothing in these needs escaping in JSON.
const plain = /^[\x20\x21\x23-\x5b\x5d-\x7e]*$/;
// The same of a whole packed event.
// biome-ignore lint/suspicious/noControlCharactersInRegex: the separator of fields is one
const plainPacked = /^[\x1f\x20\x21\x23-\x5b\x5d-\x7e]*$/;

function quote(text: string): string {
  return plain.test(text) ? `"${text}"` : JSON.stringify(text);
}

function object(members: Readonly<Record<string, string | number>>): string {
  const inOrder = Object.keys(members).sort();
  return `{${inOrder.map((name) => `${quote(name)}:${literal(members[name])}`).join(',')}}`;
}

function literal(value: string | number | undefined): string {
  return typeof value === 'string' ? quote(value) : String(value);
}

export function encodeRecord(record: AuditRecord): string {
  const { attestation, data, type } = record;
  return (
    `{"actor":${quote(record.actor)},"alg":${quote(record.alg)},` +
    (attestation === undefined ? '' : `"attestation":${object({ ...attestation })},`) +
    (data === undefined ? '' : `"data":${object(data)},`) +
    `"input_hash":${quote(record.input_hash)},"key_id":${quote(record.key_id)},"key_version":${record.key_version},` +
    `"op_id":${quote(record.op_id)},"purpose":${quote(record.purpose)},"result":${quote(record.result)},` +
    `"seq":${record.seq},"tenant":${quote(record.tenant)},"ts":${record.ts},` +
    `${type === undefined ? '' : `"type":${quote(type)},`}"v":1}`
  );
}

/** The record in these bytes, or undefined where they are not exactly what `encodeRecord` makes of it. */
export function parseRecord(entry: Uint8Array): AuditRecord | undefined {
  const text = Buffer.from(entry.buffer, entry.byteOffset, entry.byteLength).toString('utf8');
  let record: AuditRecord;
  try {
    record = JSON.parse(text);
    // Unknown members, other types, other orders and other spellings do not come out as they went in.
    if (encodeRecord(record) !== text) return undefined;
  } catch {
    return undefined;
  }
  const integers = [record.seq, record.ts, record.key_version];
  for (const value of Object.values(record.data ?? {})) {
    if (typeof value !== 'string') integers.push(value);
  }
  return integers.every((number) => Number.isSafeInteger(number) && number >= 0) && record.seq >= 1
    ? record
    : undefined;
}

const fieldEnd = '\x1f';
/** Between events of one message. */
export const eventEnd = '\x1e';
const packedFields = 10;

// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is refused
const unpackable = /[\x00-\x1f\ud800-\udfff]/;

function packable(text: string): boolean {
  return !unpackable.test(text) || (text.isWellFormed() && !/\p{Cc}/u.test(text));
}

/** Nine separators, and between them visible ASCII. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: the separator is one
const plainMessage = /^(?:[\x20-\x7e]*\x1f){9}[\x20-\x7e]*$/;

/**
 * An event as one text that crosses to the log's thread, where a message of plain text is the cheapest there is. Undefined
 * for events that would break the format: control characters, lone surrogates, more than a record may hold.
 */
export function packEvent(event: AuditEvent): string | undefined {
  const { type, attestation, data } = event;
  const more =
    type === undefined && attestation === undefined && data === undefined
      ? ''
      : JSON.stringify({ type, attestation, data });
  const { actor, alg, inputDigest = '', keyId, keyVersion, opId, purpose, result, tenant } = event;
  const packed =
    actor +
    fieldEnd +
    alg +
    fieldEnd +
    inputDigest +
    fieldEnd +
    keyId +
    fieldEnd +
    keyVersion +
    fieldEnd +
    opId +
    fieldEnd +
    purpose +
    fieldEnd +
    result +
    fieldEnd +
    tenant +
    fieldEnd +
    more;
  // All fields at once where they are plain, which they nearly always are; a separator too many tells of one in a field.
  if (
    !plainMessage.test(packed) &&
    ![actor, alg, inputDigest, keyId, opId, purpose, result, tenant, more].every(packable)
  ) {
    return undefined;
  }
  // Member names and numbers take 260 bytes at most, input_hash 120 where the digest takes 64; a character can take 3 bytes, a
  // quote or backslash 2.
  const roomy = packed.length * 3 + 400 < maxRecordBytes;
  return roomy ||
    Buffer.byteLength(JSON.stringify(packed)) + 400 < (more === '' ? maxRecordBytes : maxOwnRecordBytes)
    ? packed
    : undefined;
}

/** The log's part of a record. `inputHash` is asked only where there is an input. */
export interface Numbering {
  seqOf(keyId: string): number;
  ts: number;
  inputHash(tenant: string, opId: string, inputDigest: string): string;
}

export interface Composed {
  readonly text: string;
  readonly seq: number;
  /** One byte a character. */
  readonly ascii: boolean;
  /** As it was encoded, where it is not a plain use of a key. */
  readonly record: AuditRecord | undefined;
}

/** Makes the record's text of a packed event. Throws where the text has not the fields of one. */
export function composeRecord(packed: string, numbering: Numbering): Composed {
  const fields = packed.split(fieldEnd);
  if (fields.length !== packedFields) throw new RangeError('not a packed event');
  const [actor, alg, inputDigest, keyId, keyVersion, opId, purpose, result, tenant, more] = fields as [
    string,
    string,
    string,
    string,
    string,
    string,
    string,
    string,
    string,
    string,
  ];
  const seq = numbering.seqOf(keyId);
  const inputHash = inputDigest === '' ? 'none' : numbering.inputHash(tenant, opId, inputDigest);
  if (more === '' && plainPacked.test(packed)) {
    const text = `{"actor":"${actor}","alg":"${alg}","input_hash":"${inputHash}","key_id":"${keyId}","key_version":${keyVersion},"op_id":"${opId}","purpose":"${purpose}","result":"${result}","seq":${seq},"tenant":"${tenant}","ts":${numbering.ts},"v":1}`;
    return { text, seq, ascii: true, record: undefined };
  }
  const { type, attestation, data } = (more === '' ? {} : JSON.parse(more)) as Pick<
    AuditRecord,
    'type' | 'attestation' | 'data'
  >;
  const record: AuditRecord = {
    actor,
    alg,
    ...(attestation === undefined ? undefined : { attestation }),
    ...(data === undefined ? undefined : { data }),
    input_hash: inputHash,
    key_id: keyId,
    key_version: Number(keyVersion),
    op_id: opId,
    purpose,
    result,
    seq,
    tenant,
    ts: numbering.ts,
    ...(type === undefined ? undefined : { type }),
    v: 1,
  };
  return { text: encodeRecord(record), seq, ascii: false, record };
}

import { hash } from 'node:crypto';

/** Twelve hex digits: a log of 100,000 records a second comes to it in 89 years. */
const maxIndex = 2 ** 48 - 1;

/**
 * The UUID (RFC 9562, version 8) of a record of the audit log: its index in the first 48 bits, so that it is found at once, and 74
 * bits of the record's op_id behind it, so that it is of no other log's record at that place.
 */
export function recordUuid(index: number, opId: string): string {
  const place = index.toString(16).padStart(12, '0');
  const tail = tailOf(opId);
  const variant = ((Number.parseInt(tail[3] as string, 16) & 3) | 8).toString(16);
  return `${place.slice(0, 8)}-${place.slice(8)}-8${tail.slice(0, 3)}-${variant}${tail.slice(4, 7)}-${tail.slice(7)}`;
}

/** The index in it; undefined where it is no such UUID. */
export function indexInRecordUuid(uuid: string): number | undefined {
  if (!form.test(uuid)) return undefined;
  const index = Number.parseInt(uuid.slice(0, 8) + uuid.slice(9, 13), 16);
  return index <= maxIndex ? index : undefined;
}

const form = /^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

const randomUuid = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

/** 19 hex digits, the fourth of which has two bits that count. Of a random UUID its own digits, which costs no digest. */
function tailOf(opId: string): string {
  return randomUuid.test(opId)
    ? opId.slice(15, 18) + opId.slice(19, 23) + opId.slice(24)
    : hash('sha256', opId).slice(0, 19);
}

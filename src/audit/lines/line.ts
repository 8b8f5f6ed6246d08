import { createHmac, createSecretKey, type KeyObject, timingSafeEqual } from 'node:crypto';

/**
 * A record of the audit log as a line of JSON, for tools that read lines:
 * `{"n":1,"index":12,"record":{…},"prev":"…","hmac":"…"}`, and `"epoch":2` behind `n` where the log is in its second epoch or a later
 * one. `n` counts the lines from 1, `prev` is the hmac of the line before, and `hmac` is HMAC-SHA-256 (RFC 2104), in hex, over the
 * line up to the comma before it. So one that is altered, removed or moved is found, and where.
 */
export interface Line {
  readonly n: number;
  /** Of the audit log: each epoch counts its records from 0. */
  readonly epoch: number;
  /** Position of its record in the epoch. */
  readonly index: number;
  readonly hmac: string;
}

export interface LoggedRecord {
  readonly epoch: number;
  readonly index: number;
  readonly record: unknown;
}

/** The one before the first. */
export const noLine: Line = { n: 0, epoch: 1, index: -1, hmac: '0'.repeat(64) };
export const lineKeyBytes = 32;

/** From bytes `createHmac` would make it anew for each line, which takes four times as long as the HMAC. */
export type LineKey = KeyObject;

/** Of `lineKeyBytes` bytes, which it wipes: the key has its own copy. */
export function lineKeyOf(bytes: Uint8Array): LineKey {
  const key = createSecretKey(bytes);
  bytes.fill(0);
  return key;
}

/** A record has 4 KiB at most. */
export const maxLineBytes = 16_384;

export function lineOf(
  key: LineKey,
  before: Line,
  { epoch, index, record }: LoggedRecord,
): Line & { text: string } {
  const n = before.n + 1;
  const place = epoch === 1 ? { n, index } : { n, epoch, index };
  const covered = `${JSON.stringify({ ...place, record, prev: before.hmac }).slice(0, -1)}`;
  const hmac = createHmac('sha256', key).update(covered).digest('hex');
  return { n, epoch, index, hmac, text: `${covered},"hmac":"${hmac}"}\n` };
}

export type ReadLine =
  | { readonly ok: true; readonly line: Line; readonly prev: string }
  /** `unauthentic`: it was not written under this key. */
  | { readonly ok: false; readonly problem: 'malformed' | 'unauthentic' };

const ending = /^(.*),"hmac":"([0-9a-f]{64})"\}$/s;

/** Without its line end. */
export function readLine(key: LineKey, text: string): ReadLine {
  const [, covered, hmac] = ending.exec(text) ?? [];
  if (covered === undefined || hmac === undefined) return { ok: false, problem: 'malformed' };
  const own = createHmac('sha256', key).update(covered).digest();
  if (!timingSafeEqual(own, Buffer.from(hmac, 'hex'))) return { ok: false, problem: 'unauthentic' };
  const found = JSON.parse(`${covered}}`) as { n: number; epoch?: number; index: number; prev: string };
  const { n, epoch = 1, index, prev } = found;
  return { ok: true, line: { n, epoch, index, hmac }, prev };
}

/** The newest line, in a file beside them: so that lines that are cut off at the end are missed. 160 bytes, always. */
export function headText(key: LineKey, { n, epoch, index, hmac }: Line): string {
  const covered = `${n} ${epoch === 1 ? '' : `${epoch}/`}${index} ${hmac}`;
  const own = createHmac('sha256', key).update(`head ${covered}`).digest('hex').slice(0, 32);
  return `${`${covered} ${own}`.padEnd(headBytes - 1)}\n`;
}

export const headBytes = 160;

/** Undefined where it is none, or not of this key. */
export function readLineHead(key: LineKey, text: string): Line | undefined {
  const [, n, epoch = '1', index, hmac] =
    /^(\d+) (?:(\d+)\/)?(-?\d+) ([0-9a-f]{64}) [0-9a-f]{32} *\n$/.exec(text) ?? [];
  if (n === undefined || index === undefined || hmac === undefined) return undefined;
  const line = { n: Number(n), epoch: Number(epoch), index: Number(index), hmac };
  return headText(key, line) === text ? line : undefined;
}

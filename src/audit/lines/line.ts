import { createHmac, createSecretKey, type KeyObject, timingSafeEqual } from 'node:crypto';

/**
 * A record of the audit log as a line of JSON, for tools that read lines:
 * `{"n":1,"index":12,"record":{…},"prev":"…","hmac":"…"}`. `n` counts the lines from 1, `prev` is the hmac of the line before, and
 * `hmac` is HMAC-SHA-256 (RFC 2104), in hex, over the line up to the comma before it. So one that is altered, removed or moved is
 * found, and where.
 */
export interface Line {
  readonly n: number;
  /** Position of its record in the audit log. */
  readonly index: number;
  readonly hmac: string;
}

/** The one before the first. */
export const noLine: Line = { n: 0, index: -1, hmac: '0'.repeat(64) };
export const lineKeyBytes = 32;

/** From bytes `createHmac` would make it anew for each line, which takes four times as long as the HMAC. */
export type LineKey = KeyObject;

/** `lineKeyBytes` of them. */
export const lineKeyOf = (bytes: Uint8Array): LineKey => createSecretKey(bytes);

/** A record has 4 KiB at most. */
export const maxLineBytes = 16_384;

export function lineOf(key: LineKey, before: Line, index: number, record: unknown): Line & { text: string } {
  const n = before.n + 1;
  const covered = `${JSON.stringify({ n, index, record, prev: before.hmac }).slice(0, -1)}`;
  const hmac = createHmac('sha256', key).update(covered).digest('hex');
  return { n, index, hmac, text: `${covered},"hmac":"${hmac}"}\n` };
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
  const { n, index, prev } = JSON.parse(`${covered}}`) as { n: number; index: number; prev: string };
  return { ok: true, line: { n, index, hmac }, prev };
}

/** The newest line, in a file beside them: so that lines that are cut off at the end are missed. 160 bytes, always. */
export function headText(key: LineKey, { n, index, hmac }: Line): string {
  const covered = `${n} ${index} ${hmac}`;
  const own = createHmac('sha256', key).update(`head ${covered}`).digest('hex').slice(0, 32);
  return `${`${covered} ${own}`.padEnd(headBytes - 1)}\n`;
}

export const headBytes = 160;

/** Undefined where it is none, or not of this key. */
export function readLineHead(key: LineKey, text: string): Line | undefined {
  const [, n, index, hmac] = /^(\d+) (-?\d+) ([0-9a-f]{64}) [0-9a-f]{32} *\n$/.exec(text) ?? [];
  if (n === undefined || index === undefined || hmac === undefined) return undefined;
  const line = { n: Number(n), index: Number(index), hmac };
  return headText(key, line) === text ? line : undefined;
}

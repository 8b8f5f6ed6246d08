import { setImmediate } from 'node:timers/promises';
import { BoundedCache } from '../core/bounded-cache.ts';
import type { Clock } from '../core/clock.ts';
import { isName } from '../core/name.ts';
import { ok, type Refused, type Result, refuse } from '../core/result.ts';
import { authenticated, openAuthenticated, type RecordMac } from '../keys/authenticity.ts';
import type { RoomForKeys } from '../keys/keyring.ts';
import { Serial } from '../keys/serial.ts';
import type { Store, StoreEntry } from '../store/store.ts';
import { sha256Hex } from './anchor-records.ts';

/** A certificate that a managed key has signed. */
export interface EnrolledCertificate {
  /** Its serial number in hex: what a revocation list names. */
  readonly id: string;
  readonly anchorId: string;
  /** The version that has signed it. */
  readonly kid: string;
  readonly der: Uint8Array;
  /** Of the DER, in hex. */
  readonly sha256: string;
  /** UTC, milliseconds since 1970. */
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
}

export interface EnrolledRange {
  readonly after?: string;
  /** 1 to 1,000. */
  readonly limit: number;
}

export interface EnrolledPage {
  /** By the end of their validity, earliest first. */
  readonly certificates: readonly EnrolledCertificate[];
  readonly nextCursor?: string;
}

/** The certificates that managed keys have signed, for as long as they are valid. The audit log keeps the record of each. */
export interface EnrolledCertificates {
  /** The reason why no more can be taken for a tenant; those whose validity has ended make room first. */
  refusal(tenant: string): Promise<Refused | undefined>;
  add(tenant: string, certificate: EnrolledCertificate): Promise<Result<void>>;
  list(tenant: string, range: EnrolledRange): Promise<Result<EnrolledPage>>;
}

export interface EnrolledParts {
  readonly store: Store;
  readonly mac: RecordMac;
  readonly clock: Pick<Clock, 'utcMs'>;
  readonly room?: RoomForKeys | undefined;
  /** For the operator's log: the name of a record that is not authentic. Must not throw. */
  readonly onCorruptRecord: (storeKey: string) => void;
}

/** What the service promises to hold: some 150 MB of the disk, and nothing of a start or a call. */
export const maxEnrolledPerTenant = 50_000;
/** A page of records is read in one go on the main thread: about 2 ms. */
const recordsPerPage = 64;
const maxLimit = 1_000;
const maxWaiting = 64;
/** Tenants whose certificates are counted. */
const maxCounted = 4_096;

const tooMany = refuse(
  'TooLarge',
  `a tenant has at most ${maxEnrolledPerTenant} certificates that are valid`,
);
const badCursor = refuse('BadRequest', 'cursor is not one of ours');
const badLimit = refuse('BadRequest', `limit is 1 to ${maxLimit}`);

const prefixOf = (tenant: string) => `trust/enrolled/${tenant}/`;
/** In the order of the ends of their validity: 13 digits of milliseconds reach beyond the year 2200. */
const nameOf = ({ notAfterMs, id }: Pick<EnrolledCertificate, 'notAfterMs' | 'id'>) =>
  `${String(notAfterMs).padStart(13, '0')}-${id}`;
const nameForm = /^\d{13}-[0-9a-f]{2,42}$/;

interface StoredCertificate {
  readonly v: 1;
  readonly anchor: string;
  readonly kid: string;
  readonly not_before_ms: number;
  readonly der: string;
}

export function openEnrolledCertificates(parts: EnrolledParts): EnrolledCertificates {
  const { store, mac, clock, room } = parts;
  const serial = new Serial(maxWaiting);
  const counts = new BoundedCache<string, number>(maxCounted);

  const countOf = async (tenant: string): Promise<Result<number>> => {
    const known = counts.get(tenant);
    if (known !== undefined) return ok(known);
    const prefix = prefixOf(tenant);
    let count = 0;
    for (let after: string | undefined; ; ) {
      const limit = recordsPerPage;
      const page = await store.list({ prefix, limit, ...(after === undefined ? {} : { after }) });
      if (!page.ok) return page;
      count += page.value.length;
      after = page.value.at(-1)?.key;
      if (page.value.length < limit) break;
      await setImmediate();
    }
    counts.set(tenant, count);
    return ok(count);
  };

  /** Of those whose validity has ended, the first ones. */
  const makeRoom = async (tenant: string): Promise<Result<number>> => {
    const prefix = prefixOf(tenant);
    const first = await store.list({ prefix, limit: recordsPerPage });
    if (!first.ok) return first;
    const nowMs = clock.utcMs();
    const ended = first.value.filter(({ key }) => Number(key.slice(prefix.length).slice(0, 13)) < nowMs);
    if (ended.length === 0) return ok(0);
    const removed = await store.commit(ended.map(({ key }) => ({ key, value: undefined })));
    if (!removed.ok) return removed;
    counts.set(tenant, Math.max(0, (counts.get(tenant) ?? 0) - ended.length));
    return ok(ended.length);
  };

  const openEntry = (prefix: string, { key, value }: StoreEntry): EnrolledCertificate | undefined => {
    const opened = openAuthenticated(key, value, mac);
    if (opened === undefined) {
      parts.onCorruptRecord(key);
      return undefined;
    }
    const stored = JSON.parse(Buffer.from(opened.text).toString()) as StoredCertificate;
    const [end = '', id = ''] = key.slice(prefix.length).split('-');
    const der = Uint8Array.from(Buffer.from(stored.der, 'base64'));
    return {
      ...{ id, der, anchorId: stored.anchor, kid: stored.kid, sha256: sha256Hex(der) },
      ...{ notBeforeMs: stored.not_before_ms, notAfterMs: Number(end) },
    };
  };

  return {
    async refusal(tenant) {
      const full = room?.refusal(tenant);
      if (full !== undefined) return full;
      const count = await countOf(tenant);
      if (!count.ok) return count;
      if (count.value < maxEnrolledPerTenant) return undefined;
      const made = await makeRoom(tenant);
      if (!made.ok) return made;
      return made.value > 0 ? undefined : tooMany;
    },

    add(tenant, certificate) {
      return serial.run(tenant, async () => {
        const { anchorId: anchor, kid, notBeforeMs, der } = certificate;
        const stored: StoredCertificate = {
          ...{ v: 1, anchor, kid, not_before_ms: notBeforeMs, der: Buffer.from(der).toString('base64') },
        };
        const key = prefixOf(tenant) + nameOf(certificate);
        const value = authenticated(key, JSON.stringify(stored), mac);
        const outcome = await store.commit([{ key, value, expectedRevision: 0 }]);
        if (!outcome.ok) return outcome;
        if (!outcome.value.committed) return refuse('Conflict', 'another change came between: try again');
        room?.made(tenant);
        const count = counts.get(tenant);
        if (count !== undefined) counts.set(tenant, count + 1);
        return ok(undefined);
      });
    },

    async list(tenant, { after, limit }) {
      if (!Number.isInteger(limit) || limit < 1 || limit > maxLimit) return badLimit;
      if (after !== undefined && !nameForm.test(after)) return badCursor;
      if (!isName(tenant)) return ok({ certificates: [] });
      const prefix = prefixOf(tenant);
      const certificates: EnrolledCertificate[] = [];
      let last = after;
      while (certificates.length < limit) {
        const most = Math.min(recordsPerPage, limit - certificates.length);
        const page = await store.list({
          ...{ prefix, limit: most },
          ...(last === undefined ? {} : { after: prefix + last }),
        });
        if (!page.ok) return page;
        for (const entry of page.value) {
          last = entry.key.slice(prefix.length);
          const certificate = openEntry(prefix, entry);
          if (certificate !== undefined) certificates.push(certificate);
        }
        if (page.value.length < most) return ok({ certificates });
      }
      return ok({ certificates, ...(last === undefined ? {} : { nextCursor: last }) });
    },
  };
}

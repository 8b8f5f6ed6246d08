import { type Result, refuse } from '../core/result.ts';
import { pause, walk } from './background.ts';
import { KeyChanges } from './changes.ts';
import { decodeHead, decodeOperation, headKey, operationPrefix } from './codec.ts';
import { KeyCommits } from './commits.ts';
import { KeyCounter } from './counter.ts';
import { Idempotency } from './idempotency.ts';
import { type Keyring, type KeyringOptions, type KeyringParts, keyringDefaults } from './keyring.ts';
import { VersionEndings } from './lifecycle/endings.ts';
import { KeyIds } from './lifecycle/key-ids.ts';
import { countStates } from './lifecycle/scan.ts';
import { StateCounter } from './lifecycle/state-counter.ts';
import { usualGraceMs } from './lifecycle/states.ts';
import { KeyListing } from './listing.ts';
import { KeyLookup } from './lookup.ts';
import { newestPublicVersions } from './public-versions.ts';
import { KeyRecords } from './records.ts';
import { Serial } from './serial.ts';

/** Expired records are ignored when they are met, so it does not matter much when they go. */
const purgeEveryMs = 3_600_000;

/** Starts at once; counts keys and purges old operations in the background until it is closed. */
export function openKeyring(parts: KeyringParts, options: Partial<KeyringOptions> = {}): Keyring {
  const settings: KeyringOptions = Object.freeze({ ...keyringDefaults, ...options });
  const { store, clock } = parts;
  const records = new KeyRecords(store, parts.mac, parts.onCorruptRecord);
  const lookup = new KeyLookup(parts, records, settings);
  const operations = new Idempotency(store, clock, records, settings.operationKeptMs);
  const counter = new KeyCounter();
  const ids = new KeyIds(store, records, lookup);
  const states = new StateCounter();
  const serial = new Serial(settings.maxWaitingChangesPerKey);
  const commits = new KeyCommits(parts, { records, lookup, serial });
  const rooms = { records, lookup, operations, counter, commits, ids, states };
  const changes = new KeyChanges(parts, settings, rooms);
  const endings = new VersionEndings(parts, rooms);
  const listing = new KeyListing(store, records);
  const stop = new AbortController();
  const background = Promise.all([
    countKeys(parts, counter, stop.signal),
    countStates(parts, states, stop.signal),
    purgeForever(parts, operations, stop.signal),
  ]);
  const underWay = new Set<Promise<unknown>>();
  let closing: Promise<void> | undefined;

  async function whileOpen<T>(change: () => Promise<Result<T>>): Promise<Result<T>> {
    if (closing !== undefined) return refuse('NotReady');
    const result = change();
    underWay.add(result);
    try {
      return await result;
    } finally {
      underWay.delete(result);
    }
  }

  return {
    find: (tenant, kid) => lookup.find(tenant, kid),
    create: (request) => whileOpen(() => changes.create(request)),
    rotate: (request) => whileOpen(() => changes.rotate(request)),
    destroy: (request) => whileOpen(() => changes.destroy(request)),
    findByKeyId: (tenant, keyId) => ids.find(tenant, keyId),
    findByAlias: (tenant, placement, alias) => ids.findByAlias(tenant, placement, alias),
    keyIds: (request) => ids.list(request),
    archive: (request) => whileOpen(() => endings.archive(request)),
    revoke: (request) => whileOpen(() => endings.revoke(request)),
    list: (request) => listing.list(request),
    describe: (tenant, kid) => listing.describe(tenant, kid),
    publicVersions: (filter) => newestPublicVersions(parts.store, records, parts.mac, filter),
    refresh: () => lookup.refresh(),
    counts: () => counter.counts(),
    stateCounts: () => states.counts(clock.utcMs(), parts.graceMs?.() ?? usualGraceMs),
    close() {
      closing ??= (async () => {
        stop.abort();
        await Promise.allSettled(underWay);
        await background;
        lookup.clear();
        ids.clear();
      })();
      return closing;
    },
  };
}

async function countKeys(parts: KeyringParts, counter: KeyCounter, signal: AbortSignal): Promise<void> {
  await walk(parts.store, headKey(''), signal, (entries) => {
    // A record that cannot be read is reported when somebody asks for it.
    const heads = entries.flatMap(({ key, value }) => decodeHead(key, value, parts.mac) ?? []);
    counter.scanned(heads, entries.at(-1)?.key ?? '');
    if (parts.onHead !== undefined) for (const head of heads) parts.onHead(head);
  });
  if (!signal.aborted) counter.scanEnded();
}

async function purgeForever(
  parts: KeyringParts,
  operations: Idempotency,
  signal: AbortSignal,
): Promise<void> {
  while (!signal.aborted) {
    await purgeOperations(parts, operations, signal);
    await pause(purgeEveryMs, signal);
  }
}

async function purgeOperations(
  { store }: KeyringParts,
  operations: Idempotency,
  signal: AbortSignal,
): Promise<void> {
  await walk(store, operationPrefix, signal, async (entries) => {
    const expired = entries.filter(({ value }) => {
      const record = decodeOperation(value);
      return record !== undefined && operations.isExpired(record);
    });
    // Each on its own: an op_id that is used again at this moment spoils its own removal only.
    await Promise.all(
      expired.map(({ key, revision }) =>
        store.commit([{ key, value: undefined, expectedRevision: revision }]),
      ),
    );
  });
}

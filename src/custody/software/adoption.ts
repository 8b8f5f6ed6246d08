import { setImmediate } from 'node:timers/promises';
import { StartError } from '../../core/start-error.ts';
import type { Engine, RootRef } from '../../engine/engine.ts';
import { authenticated, openAuthenticated, type RecordMac } from '../../keys/authenticity.ts';
import {
  decodeFoundHead,
  decodeFoundVersion,
  decodeHead,
  decodeVersion,
  encodeHead,
  encodeVersion,
  headKey,
  idInVersionKey,
  versionsPrefix,
} from '../../keys/codec.ts';
import { formatKid, type Kid, parseKid } from '../../keys/kid.ts';
import type { KeyVersion } from '../../keys/record.ts';
import type { Store, StoreEntry } from '../../store/store.ts';
import { isOfOnePiece } from '../key-pair.ts';
import { keyReferenceOf } from './index.ts';

/**
 * Records of keys were not authenticated once. The first start that finds such a store takes them as they are, and says so
 * in an entry of its own; from then on a record that is not authentic is refused.
 */
const entryKey = 'meta/authenticated';

/** RSA-4096 signs in 5 ms, and two lines of 64 are what the start waits for at a time. */
const recordsPerPage = 64;

export interface AdoptionParts {
  readonly engine: Engine;
  readonly root: RootRef;
  readonly store: Store;
  readonly mac: RecordMac;
  /** Something outside of the store remembers that its records were authenticated. */
  readonly wasAuthenticated: boolean;
}

export interface Adopted {
  /** Records taken as they were by this start. */
  readonly taken: number;
  /** Store keys of records that were not taken: their private key belongs to another public key, or they are unreadable. */
  readonly refused: readonly string[];
  /** The audit log has not been told of keys that were taken. */
  readonly unrecorded: boolean;
}

interface Entry {
  readonly v: 1;
  readonly found: 'unrecorded' | 'recorded';
}

/** Afterwards every record is authentic or refused. Throws a StartError when the store is not what it was. */
export async function adoptRecords(parts: AdoptionParts): Promise<Adopted> {
  const { store, mac, wasAuthenticated } = parts;
  const entry = await store.get(entryKey);
  if (!entry.ok) throw new StartError('the store does not answer');
  if (entry.value !== undefined) {
    const opened = openAuthenticated(entryKey, entry.value.value, mac);
    if (opened === undefined)
      throw new StartError(`${entryKey} in the store is not authentic: restore it from your copy`);
    const { found } = JSON.parse(Buffer.from(opened.text).toString()) as Entry;
    return { taken: 0, refused: [], unrecorded: found === 'unrecorded' };
  }
  const refused: string[] = [];
  let taken = 0;
  for (const prefix of [versionsPrefix, headKey('')]) {
    for await (const page of pages(store, prefix)) {
      if (wasAuthenticated) throw new StartError(lostEntry);
      taken += await adoptPage(parts, page, refused);
    }
  }
  await write(parts, taken > 0 ? 'unrecorded' : 'recorded');
  return { taken, refused, unrecorded: taken > 0 };
}

const lostEntry =
  'the store says no longer that its records are authenticated: it is an older copy, or somebody wrote into it. Restore the whole data directory from one copy';

/** The audit log knows of every key that was taken. */
export async function foundAreRecorded(parts: Pick<AdoptionParts, 'store' | 'mac'>): Promise<void> {
  await write(parts, 'recorded');
}

async function write(
  { store, mac }: Pick<AdoptionParts, 'store' | 'mac'>,
  found: Entry['found'],
): Promise<void> {
  const entry: Entry = { v: 1, found };
  const outcome = await store.commit([
    { key: entryKey, value: authenticated(entryKey, JSON.stringify(entry), mac) },
  ]);
  if (!outcome.ok || !outcome.value.committed) throw new StartError('the store cannot be written');
}

async function* pages(store: Store, prefix: string): AsyncGenerator<readonly StoreEntry[]> {
  let after: string | undefined;
  for (;;) {
    const page = await store.list({
      prefix,
      limit: recordsPerPage,
      ...(after === undefined ? undefined : { after }),
    });
    if (!page.ok) throw new StartError('the store does not answer');
    if (page.value.length > 0) yield page.value;
    if (page.value.length < recordsPerPage) return;
    after = page.value.at(-1)?.key;
    // So that signals are heard: there may be millions.
    await setImmediate();
  }
}

/** The number that were taken. A start that was killed after this page finds it authentic. */
async function adoptPage(
  parts: AdoptionParts,
  page: readonly StoreEntry[],
  refused: string[],
): Promise<number> {
  const changes = page.flatMap(({ key, value, revision }) => {
    const adopted = key.startsWith(versionsPrefix)
      ? adoptVersion(parts, key, value)
      : adoptHead(parts, key, value);
    if (adopted === undefined) refused.push(key);
    return adopted instanceof Uint8Array ? [{ key, value: adopted, expectedRevision: revision }] : [];
  });
  if (changes.length === 0) return 0;
  const outcome = await parts.store.commit(changes);
  if (!outcome.ok || !outcome.value.committed) throw new StartError('the store cannot be written');
  return changes.length;
}

type AdoptedValue = Uint8Array | 'authentic' | undefined;

function adoptHead({ mac }: AdoptionParts, storeKey: string, value: Uint8Array): AdoptedValue {
  if (decodeHead(storeKey, value, mac) !== undefined) return 'authentic';
  const head = decodeFoundHead(storeKey, value);
  return head === undefined ? undefined : encodeHead(head, mac);
}

function adoptVersion(parts: AdoptionParts, storeKey: string, value: Uint8Array): AdoptedValue {
  const { mac } = parts;
  const kid = parseKid(idInVersionKey(storeKey));
  if (kid === undefined) return undefined;
  if (decodeVersion(storeKey, kid, value, mac) !== undefined) return 'authentic';
  const version = decodeFoundVersion(storeKey, kid, value);
  return version !== undefined && hasOwnPublicKeys(parts, kid, version)
    ? encodeVersion(version, mac)
    : undefined;
}

/** True if each private key that opens belongs to its public key. One that does not open signs nothing, and is no proof. */
function hasOwnPublicKeys({ engine, root }: AdoptionParts, kid: Kid, version: KeyVersion): boolean {
  return version.parts.every((part, index) => {
    if (part.sealed === undefined) return true;
    const { scheme } = kid.algorithm.components[index]!.schemes[0];
    const reference = keyReferenceOf(part, index, kid.tenant, formatKid(kid.id, version.version));
    return isOfOnePiece(engine, root, scheme, reference, part.publicKey) ?? true;
  });
}

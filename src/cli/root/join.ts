import { readFileSync } from 'node:fs';
import { errorCode } from '../../core/private-file.ts';
import { StartError } from '../../core/start-error.ts';
import type { ListedSourceOf } from '../../custody/root-key/listed-source.ts';
import type { Reading } from '../../custody/root-key/read-source.ts';
import { sharesBy } from '../../custody/root-key/read-source.ts';
import { joinShares, openShare, shareBytes } from '../../custody/root-key/shares.ts';
import { readRootSources } from '../../custody/root-key/sources-file.ts';
import { identitiesOf } from './new-source.ts';

export interface JoinedFrom {
  /** Identity files of officers. */
  readonly identities: readonly string[];
  /** Files of shares: encrypted to one of the identities, or 33 bytes that an officer has decrypted. */
  readonly shares: readonly string[];
  /** The source in the list, where there are several of shares. */
  readonly source: string | undefined;
}

/** The root key as officers' shares give it, in a buffer of its own, which the caller wipes. Throws a StartError. */
export async function joinedSecret(from: JoinedFrom, around: Reading): Promise<Uint8Array> {
  const identities = identitiesOf(from.identities);
  if (from.shares.length === 0) {
    const source = sharesSource(around.dataDir, from.source);
    return sharesBy(source, identities, source.threshold, around);
  }
  const shares: Uint8Array[] = [];
  try {
    for (const path of from.shares) shares.push(await shareIn(path, identities));
    return await joinShares(shares);
  } finally {
    for (const share of shares) share.fill(0);
  }
}

async function shareIn(path: string, identities: readonly string[]): Promise<Uint8Array> {
  let file: Buffer;
  try {
    file = readFileSync(path);
  } catch (cause) {
    throw new StartError(`${path} cannot be read (${errorCode(cause)})`, { cause });
  }
  // The library takes no class that extends Uint8Array.
  if (file.length === shareBytes) return new Uint8Array(file.buffer, file.byteOffset, file.length);
  const share = await openShare(file, identities);
  if (share === undefined) throw new StartError(`${path}: none of the identities opens it`);
  return share;
}

function sharesSource(dataDir: string, id: string | undefined): ListedSourceOf<'shares'> {
  const read = readRootSources(dataDir);
  if (!read.ok) throw new StartError(read.failure.hint ?? 'the list of sources cannot be read');
  const found = (read.value?.sources ?? []).filter(
    (one): one is ListedSourceOf<'shares'> => one.kind === 'shares' && (id === undefined || one.id === id),
  );
  const [only, ...others] = found;
  if (only === undefined)
    throw new StartError(
      `no such source of shares is in the list of ${dataDir}: give the files with --share`,
    );
  if (others.length > 0)
    throw new StartError('there are several sources of shares: choose one with --source');
  return only;
}

import { createPublicKey, type KeyObject } from 'node:crypto';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import type { NoteKey } from '../../../src/audit/format/note.ts';
import { parseTlogProof } from '../../../src/audit/format/tlog-proof.ts';

/** As much of a Rekor entry as @sigstore/verify reads of it for an inclusion proof. */
interface Entry {
  readonly canonicalizedBody: Buffer;
  readonly inclusionProof: {
    readonly logIndex: string;
    readonly hashes: readonly Buffer[];
    readonly checkpoint: { readonly envelope: string };
  };
}

interface TrustedLog {
  readonly logID: Buffer;
  readonly baseURL: string;
  readonly publicKey: KeyObject;
}

interface SigstoreTlog {
  verifyCheckpoint(entry: Entry, logs: readonly TrustedLog[]): { readonly logSize: bigint };
  verifyMerkleInclusion(entry: Entry, checkpoint: { readonly logSize: bigint }): void;
}

/** Throws where @sigstore/verify, installed in `home`, does not accept the proof, or accepts an altered one. */
export function checkWithSigstore(
  home: string,
  key: NoteKey,
  proof: Uint8Array,
  record: Uint8Array,
): { readonly version: string; readonly refused: number } {
  const load = createRequire(join(home, 'package.json'));
  const { verifyCheckpoint } = load('@sigstore/verify/dist/tlog/checkpoint.js') as SigstoreTlog;
  const { verifyMerkleInclusion } = load('@sigstore/verify/dist/tlog/merkle.js') as SigstoreTlog;
  const { version } = load('@sigstore/verify/package.json') as { version: string };
  const parsed = parseTlogProof(proof);
  if (!parsed.ok) throw new Error(parsed.failure.hint);
  const { index, path, checkpoint } = parsed.value;
  const spki = Buffer.concat([Buffer.from('302a300506032b6570032100', 'hex'), key.publicKey]);
  const logs = [
    {
      logID: Buffer.from(key.id, 'hex'),
      baseURL: `https://${key.name}`,
      publicKey: createPublicKey({ key: spki, format: 'der', type: 'spki' }),
    },
  ];
  const entry: Entry = {
    canonicalizedBody: Buffer.from(record),
    inclusionProof: {
      logIndex: String(index),
      hashes: path.map((hash) => Buffer.from(hash)),
      checkpoint: { envelope: Buffer.from(checkpoint).toString('utf8') },
    },
  };
  const accept = (given: Entry) => verifyMerkleInclusion(given, verifyCheckpoint(given, logs));
  accept(entry);
  const { inclusionProof } = entry;
  const { envelope } = inclusionProof.checkpoint;
  const altered: Entry[] = [
    { ...entry, canonicalizedBody: Buffer.concat([record, Buffer.from(' ')]) },
    { ...entry, inclusionProof: { ...inclusionProof, logIndex: String(index - 1) } },
    { ...entry, inclusionProof: { ...inclusionProof, hashes: inclusionProof.hashes.toReversed() } },
    {
      ...entry,
      inclusionProof: {
        ...inclusionProof,
        checkpoint: { envelope: envelope.replace(/\n[0-9]+\n/, '\n1\n') },
      },
    },
  ];
  for (const other of altered) {
    if (accepts(accept, other)) throw new Error('@sigstore/verify accepts an altered entry');
  }
  return { version, refused: altered.length };
}

function accepts(accept: (entry: Entry) => void, entry: Entry): boolean {
  try {
    accept(entry);
    return true;
  } catch {
    return false;
  }
}

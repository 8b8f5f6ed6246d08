import { type LogReader, openLogReader } from './reader.ts';
import type { ReadAnswer, ReadQuestion, RecordsPage } from './reading.ts';
import { consistencyFromTiles, inclusionFromTiles } from './tiles.ts';
import { formatTlogProof } from './tlog-proof.ts';

/** Records looked at for one page, however few of them are the asker's: about 50 ms. */
const maxScanned = 20_000;

/** The thread that answers questions; it keeps a reader and its caches for the directory that was asked last. */
export function createReadAnswerer(): (directory: string, question: ReadQuestion) => ReadAnswer {
  let reader: LogReader | undefined;
  let opened: string | undefined;
  return (directory, question) => {
    if (reader === undefined || opened !== directory) {
      reader = openLogReader(directory);
      opened = directory;
    } else {
      reader.refresh();
    }
    return answer(reader, question);
  };
}

function answer(reader: LogReader, question: ReadQuestion): ReadAnswer {
  switch (question.of) {
    case 'checkpoint':
      return bytesOrNothing(reader.read('checkpoint'));
    case 'tile':
      return bytesOrNothing(reader.read(question.path));
    case 'consistency': {
      const hashes = consistencyFromTiles(reader, question.from, question.to, reader.checkpoint()?.size ?? 0);
      return hashes.ok ? { found: true, bytes: Buffer.concat(hashes.value) } : { found: false };
    }
    case 'proof':
      return proof(reader, question.index, question.tenant);
    case 'records':
      return { found: true, page: records(reader, question) };
  }
}

function bytesOrNothing(bytes: Uint8Array | undefined): ReadAnswer {
  return bytes === undefined ? { found: false } : { found: true, bytes };
}

function proof(reader: LogReader, index: number, tenant: string | undefined): ReadAnswer {
  const checkpoint = reader.checkpoint();
  if (checkpoint === undefined || index >= checkpoint.size) return { found: false };
  if (tenant !== undefined && reader.record(index)?.tenant !== tenant) return { found: false };
  const path = inclusionFromTiles(reader, index, checkpoint.size);
  if (!path.ok) return { found: false };
  return { found: true, bytes: formatTlogProof({ index, path: path.value, checkpoint: checkpoint.note }) };
}

function records(
  reader: LogReader,
  { from, limit, tenant, opId }: Extract<ReadQuestion, { of: 'records' }>,
): RecordsPage {
  const found: { index: number; record: unknown }[] = [];
  const end = Math.min(reader.size, Math.max(from, reader.minimumIndex) + maxScanned);
  for (const { index, record } of reader.records(from, end)) {
    if (tenant !== undefined && record.tenant !== tenant) continue;
    if (opId !== undefined && record.op_id !== opId) continue;
    found.push({ index, record });
    if (found.length === limit) return { records: found, next: index + 1 };
  }
  return { records: found, next: end < reader.size ? end : undefined };
}

import { chunkLeaves } from '../disk/layout.ts';
import { consistencyFromTiles, inclusionFromTiles } from '../format/tiles.ts';
import { formatTlogProof } from '../format/tlog-proof.ts';
import { findCalls } from './find-calls.ts';
import { type LogReader, openLogReader } from './log-reader.ts';
import type { ReadAnswer, ReadQuestion, RecordsPage } from './read-thread.ts';

/**
 * For one page records are looked at until it is full, or for this long: other questions wait meanwhile. What is left is
 * for the next call, which begins at `next`.
 */
const maxScanMs = 50;
/** Between two looks at the clock: 2,048 records, which take about 10 ms when all are parsed. */
const stepLeaves = 8 * chunkLeaves;

/** The thread that answers questions; it keeps a reader and its caches for the directory that was asked last. */
export function createReadAnswerer(
  nowMs: () => number = () => performance.now(),
): (directory: string, question: ReadQuestion) => ReadAnswer {
  let reader: LogReader | undefined;
  let opened: string | undefined;
  return (directory, question) => {
    if (reader === undefined || opened !== directory) {
      reader = openLogReader(directory);
      opened = directory;
    } else {
      reader.refresh();
    }
    return answer(reader, question, nowMs);
  };
}

function answer(reader: LogReader, question: ReadQuestion, nowMs: () => number): ReadAnswer {
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
      return { found: true, page: records(reader, question, nowMs) };
    case 'calls': {
      const until = nowMs() + maxScanMs;
      return { found: true, page: findCalls(reader, question, () => nowMs() >= until) };
    }
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

/** There is no index: what is asked for is looked for, step by step, and at least in one. */
function records(
  reader: LogReader,
  { from, limit, tenant, opId }: Extract<ReadQuestion, { of: 'records' }>,
  nowMs: () => number,
): RecordsPage {
  const found: { index: number; record: unknown }[] = [];
  // As it stands in the record (RFC 8785).
  const containing = opId === undefined ? undefined : Buffer.from(`"op_id":${JSON.stringify(opId)}`);
  const until = nowMs() + maxScanMs;
  let at = Math.max(from, reader.minimumIndex);
  while (at < reader.size) {
    const end = Math.min(reader.size, (Math.floor(at / stepLeaves) + 1) * stepLeaves);
    for (const { index, record } of reader.records(at, end, containing)) {
      if (tenant !== undefined && record.tenant !== tenant) continue;
      if (opId !== undefined && record.op_id !== opId) continue;
      found.push({ index, record });
      if (found.length === limit) return { records: found, next: index + 1 };
    }
    at = end;
    if (nowMs() >= until) break;
  }
  return { records: found, next: at < reader.size ? at : undefined };
}

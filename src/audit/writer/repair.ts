import { join } from 'node:path';
import { type Files, replaceFile } from '../disk/files.ts';
import { type Layout, segmentLeaves, walFilesIn } from '../disk/layout.ts';
import type { Recovered } from './recovery.ts';

/** Only after everything else was found in order. The torn bytes are kept, and the boot record names them. */
export async function repairLog(
  files: Files,
  layout: Layout,
  { torn, walFirst, walOffset, state, head }: Recovered,
): Promise<void> {
  if (torn !== undefined) {
    files.makeDirectory(layout.quarantine);
    for (const first of [torn.file, ...torn.laterFiles]) {
      const bytes = files.read(layout.walFile(first)) ?? Buffer.alloc(0);
      const from = first === torn.file ? torn.offset : 0;
      const name = `${String(first).padStart(20, '0')}-${from}-${torn.sha256.slice(0, 16)}`;
      await replaceFile(files, join(layout.quarantine, name), bytes.subarray(from));
    }
    for (const first of torn.laterFiles) files.remove(layout.walFile(first));
  }
  // After a failed fdatasync Linux calls the pages clean: syncing them again succeeds and writes nothing. What HEAD does
  // not call durable is therefore written anew.
  for (const first of walFilesIn(files, layout)) {
    if (first + segmentLeaves <= head.durable.size || first === walFirst) continue;
    await replaceFile(files, layout.walFile(first), files.read(layout.walFile(first)) ?? Buffer.alloc(0));
  }
  const last = files.read(layout.walFile(walFirst)) ?? Buffer.alloc(0);
  if (state.size > head.durable.size || last.length !== walOffset) {
    await replaceFile(files, layout.walFile(walFirst), last.subarray(0, walOffset));
  }
  await files.syncDirectory(layout.wal);
}

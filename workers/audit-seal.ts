import { setPriority } from 'node:os';
import { workerData } from 'node:worker_threads';
import { systemFiles } from '../src/audit/files.ts';
import { layoutOf } from '../src/audit/layout.ts';
import type { SealOrder } from '../src/audit/sealer.ts';
import { sealSegment } from '../src/audit/segments.ts';

const { directory, segment, snapshot, niceness } = workerData as SealOrder;

// Linux keeps the nice value of each thread: this is the calling one's. Elsewhere it would be the whole process's.
if (process.platform === 'linux') setPriority(0, niceness);

/** The whole of the thread: one segment. What it throws is the order's failure. */
await sealSegment(systemFiles, layoutOf(directory), segment, snapshot);

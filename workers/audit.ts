import { type MessagePort, parentPort, workerData } from 'node:worker_threads';
import { systemFiles } from '../src/audit/disk/files.ts';
import { readBootId } from '../src/audit/disk/head.ts';
import type { ServiceData } from '../src/audit/thread-messages.ts';
import { LogThread } from '../src/audit/writer/log-thread.ts';
import { sealOnThread } from '../src/audit/writer/sealer.ts';
import { systemClock } from '../src/core/clock.ts';
import { softwareMacKey } from '../src/core/mac-key.ts';
import { openNativeMacKey } from '../src/engine/native/index.ts';
import { lockDirectory } from '../src/store/lmdb/directory-lock.ts';

/** The whole of the log's thread. */
new LogThread(workerData as ServiceData, parentPort as MessagePort, {
  files: systemFiles,
  clock: systemClock,
  bootId: readBootId(),
  lock: lockDirectory,
  seal: sealOnThread(),
  macKey: (secret) => (typeof secret === 'number' ? openNativeMacKey(secret) : softwareMacKey(secret)),
}).start();

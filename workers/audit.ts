import { type MessagePort, parentPort, workerData } from 'node:worker_threads';
import { systemFiles } from '../src/audit/files.ts';
import { readBootId } from '../src/audit/head.ts';
import type { ServiceData } from '../src/audit/protocol.ts';
import { sealOnThread } from '../src/audit/sealer.ts';
import { AuditService } from '../src/audit/service.ts';
import { systemClock } from '../src/core/clock.ts';
import { softwareMacKey } from '../src/core/mac-key.ts';
import { openNativeMacKey } from '../src/engine/native/index.ts';
import { lockDirectory } from '../src/store/lmdb/directory-lock.ts';

/** The whole of the log's thread. */
new AuditService(workerData as ServiceData, parentPort as MessagePort, {
  files: systemFiles,
  clock: systemClock,
  bootId: readBootId(),
  lock: lockDirectory,
  seal: sealOnThread(),
  macKey: (secret) => (typeof secret === 'number' ? openNativeMacKey(secret) : softwareMacKey(secret)),
}).start();

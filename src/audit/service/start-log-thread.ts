import { Worker } from 'node:worker_threads';
import type { MacKeyRef } from '../../core/mac-key.ts';
import { threadEntry } from '../../core/own-package.ts';
import { workerEnvironment } from '../../core/process/worker-thread.ts';
import type { InputHashOptions } from '../format/input-hash.ts';
import { defaultLogOptions, type LogOptions, type ServiceData, statisticsBytes } from '../thread-messages.ts';
import { AuditLogClient } from './log-client.ts';
import type { AuditLogParts } from './parts.ts';

export interface AuditLogSettings {
  readonly directory: string;
  /** Outside the audit directory. */
  readonly headPath: string;
  /** From outside the audit directory. */
  readonly secret: MacKeyRef;
  /** Names the log: a URL without its scheme, such as kms.example/audit/node-1. */
  readonly origin: string;
  readonly inputHash: InputHashOptions;
  readonly options?: Partial<LogOptions>;
}

/**
 * Starts the log's thread. The log recovers on its own; `recovered()` tells when. `died` is called when the thread ends
 * unasked: a service that can sign but not log must not live.
 */
export function startAuditLog(
  settings: AuditLogSettings,
  parts: AuditLogParts,
  died: (cause: unknown) => void,
): AuditLogClient {
  const data: ServiceData = {
    ...settings,
    options: { ...defaultLogOptions, ...settings.options },
    statistics: new SharedArrayBuffer(statisticsBytes),
    anchored: parts.anchors !== undefined,
    keysLogged: parts.keys !== undefined,
    witnessed: parts.witnessed !== undefined,
  };
  const worker = new Worker(threadEntry('audit'), {
    workerData: data,
    env: workerEnvironment(),
  });
  const client = new AuditLogClient(data, worker, parts);
  let closing = false;
  const ended = new Promise<void>((resolve) => {
    worker.on('exit', (code) => {
      resolve();
      if (!closing) died(new Error(`the audit thread ended with ${code}`));
    });
  });
  worker.on('error', died);
  const close = client.close.bind(client);
  client.close = async () => {
    closing = true;
    // A thread that has died answers no more.
    await Promise.race([close(), ended]);
    await worker.terminate();
  };
  return client;
}

import { Worker } from 'node:worker_threads';
import { threadEntry } from '../../core/own-package.ts';
import { workerEnvironment } from '../../core/process/worker-thread.ts';
import { type Refused, type Result, refuse } from '../../core/result.ts';
import { epochAt } from '../disk/layout.ts';

/** A question to a log that is being written. Plain data: it is answered on a thread of its own. */
export type ReadQuestion =
  | { readonly of: 'checkpoint' }
  /** `path`: `tile/…` as in C2SP tlog-tiles. */
  | { readonly of: 'tile'; readonly path: string }
  /** An RFC 6962 consistency proof between two sizes up to the newest checkpoint's, as its hashes one after the other. */
  | { readonly of: 'consistency'; readonly from: number; readonly to: number }
  /** The proof of a record under the newest checkpoint (C2SP tlog-proof); of `tenant` only, when it is given. */
  | { readonly of: 'proof'; readonly index: number; readonly tenant: string | undefined }
  | {
      readonly of: 'records';
      readonly from: number;
      readonly limit: number;
      readonly tenant: string | undefined;
      readonly opId: string | undefined;
    }
  | CallsQuestion;

/** Records of calls that have receipts, the newest first: uses of keys and others, whose `data` says for which module they were. */
export interface CallsQuestion {
  readonly of: 'calls';
  readonly tenant: string;
  /** Indexes: only those below `before`, which is where an earlier page ended, and not below `from`. */
  readonly before?: number | undefined;
  readonly from?: number | undefined;
  readonly limit: number;
  readonly keyId?: string | undefined;
  /** One of these names. */
  readonly operations?: readonly string[] | undefined;
  /** Microseconds since 1970, both included. */
  readonly sinceUs?: number | undefined;
  readonly untilUs?: number | undefined;
  /** Only of calls for one of these, and of calls that name none; of all where it is absent. */
  readonly environments?: readonly string[] | undefined;
  readonly planes?: readonly string[] | undefined;
}

export interface RecordsPage {
  readonly records: readonly { readonly index: number; readonly record: unknown }[];
  /** The beginning of the next page, or, the newest first, its end; undefined where there is none. */
  readonly next: number | undefined;
}

export type ReadAnswer =
  | { readonly found: true; readonly bytes: Uint8Array }
  | { readonly found: true; readonly page: RecordsPage }
  | { readonly found: false };

/** Reads the log without holding up the thread that serves. */
export interface AuditReading {
  ask(question: ReadQuestion): Promise<Result<ReadAnswer>>;
  /** The number of the log that is asked: an accepted integrity failure begins another one. */
  epoch(): number;
  close(): Promise<void>;
}

/** Auditors read one after the other; more than this would wait for seconds. */
const maxWaiting = 64;
const busyRetryMs = 1_000;

/**
 * `directory` is asked at each question, because an accepted integrity failure begins a new one. The thread starts with the first
 * question, and stays: most services are never asked.
 */
export function startAuditReading(directory: () => string): AuditReading {
  let worker: Worker | undefined;
  const waiting = new Map<number, (answer: Result<ReadAnswer>) => void>();
  let questions = 0;
  let gone: Refused | undefined;
  const fail = () => {
    gone = refuse('AuditUnavailable', 'the log cannot be read until the service is started again');
    for (const settle of waiting.values()) settle(gone);
    waiting.clear();
  };
  const settled = ({ id, answer }: { id: number; answer: ReadAnswer | undefined }) => {
    waiting.get(id)?.(
      answer === undefined
        ? refuse('AuditUnavailable', 'this part of the log cannot be read')
        : { ok: true, value: answer },
    );
    waiting.delete(id);
  };
  const start = (): Worker => {
    const started = new Worker(threadEntry('audit-read'), { env: workerEnvironment() });
    // Serving goes on without it, and the process may end while it waits.
    started.unref();
    started.on('message', settled);
    started.on('error', fail);
    started.on('exit', fail);
    return started;
  };
  return {
    ask(question) {
      if (gone !== undefined) return Promise.resolve(gone);
      if (waiting.size >= maxWaiting) {
        return Promise.resolve(refuse('Backpressure', 'too many questions to the audit log', busyRetryMs));
      }
      worker ??= start();
      const thread = worker;
      return new Promise((settle) => {
        waiting.set(++questions, settle);
        thread.postMessage({ id: questions, directory: directory(), question });
      });
    },
    epoch: () => epochAt(directory()),
    close: async () => {
      if (worker === undefined) fail();
      else await worker.terminate();
    },
  };
}

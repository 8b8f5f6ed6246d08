import { isMainThread } from 'node:worker_threads';
import { openSystemCalls } from '../engine/system-calls.ts';

/**
 * From its event `exit` on, this process is gone within `limitMs`. Without this it can stay for good: Node joins its
 * threads, and one of them may wait for the main thread (https://github.com/nodejs/node/issues/54918), or for a disk that
 * does not answer. Called by another thread than the main one, it does nothing: that one's end is not the process's.
 */
export function limitExit(limitMs: number): void {
  if (isMainThread) process.on('exit', (status) => void openSystemCalls().endWithin(status, limitMs));
}

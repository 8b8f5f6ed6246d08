import { parentPort } from 'node:worker_threads';
import { createReadAnswerer } from '../src/audit/answer-reading.ts';
import type { ReadQuestion } from '../src/audit/reading.ts';

/** The whole of the thread that reads the log for auditors: one question in, one answer out. */
const answer = createReadAnswerer();

parentPort?.on(
  'message',
  ({ id, directory, question }: { id: number; directory: string; question: ReadQuestion }) => {
    parentPort?.postMessage({ id, answer: answer(directory, question) });
  },
);

import { parentPort } from 'node:worker_threads';
import { createReadAnswerer } from '../src/audit/reading/answer-reads.ts';
import type { ReadQuestion } from '../src/audit/reading/read-thread.ts';

/** The whole of the thread that reads the log for auditors: one question in, one answer out. */
let answer = createReadAnswerer();

/** undefined: reading failed. The next question is answered by a new reader, and the thread lives on. */
function answerOrNothing(directory: string, question: ReadQuestion) {
  try {
    return answer(directory, question);
  } catch {
    answer = createReadAnswerer();
    return undefined;
  }
}

parentPort?.on(
  'message',
  ({ id, directory, question }: { id: number; directory: string; question: ReadQuestion }) => {
    parentPort?.postMessage({ id, answer: answerOrNothing(directory, question) });
  },
);

import type { AuditReading } from '../reading/read-thread.ts';
import type { LineFile } from './line-file.ts';

/** A page is written in one go, at most some milliseconds. */
const recordsPerPage = 256;
/** Lines come so long after their records, in milliseconds: several of them at once. */
const delayMs = 50;
const retryMs = 1_000;

export interface LineFollower {
  /** There is a new record on the log. Costs a comparison where one was noted before. */
  noted(): void;
  /** Writes what is on the log, and closes the file. */
  close(): Promise<void>;
}

/**
 * Writes the records of the audit log as lines, from where the file ends: after a kill none is missing and none comes twice. The
 * log is what counts; where lines cannot be written, it goes on.
 */
export function followLog(
  reading: Pick<AuditReading, 'ask'>,
  file: LineFile,
  onProblem: (cause: unknown) => void,
): LineFollower {
  let timer: NodeJS.Timeout | undefined;
  let running: Promise<void> | undefined;
  let again = false;
  const catchUp = async () => {
    for (let from: number | undefined = file.last.index + 1; from !== undefined; ) {
      const answer = await reading.ask({
        ...{ of: 'records', from, limit: recordsPerPage, tenant: undefined, opId: undefined },
      });
      if (!answer.ok || !answer.value.found || !('page' in answer.value))
        throw new Error('the log cannot be read');
      file.append(answer.value.page.records);
      from = answer.value.page.next;
    }
  };
  const run = () => {
    timer = undefined;
    // Two at once would write the same records twice.
    again = running !== undefined;
    running ??= catchUp()
      .catch((cause: unknown) => {
        onProblem(cause);
        schedule(retryMs);
      })
      .finally(() => {
        running = undefined;
        if (again) schedule(0);
      });
  };
  const schedule = (ms: number) => {
    timer ??= setTimeout(run, ms).unref();
  };
  schedule(0);
  return {
    noted: () => schedule(delayMs),
    async close() {
      await running;
      clearTimeout(timer);
      await catchUp().catch(onProblem);
      file.close();
    },
  };
}

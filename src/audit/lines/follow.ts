import type { AuditReading } from '../reading/read-thread.ts';
import type { LineFile } from './line-file.ts';

/** A page is written in one go, at most some milliseconds. */
const recordsPerPage = 256;
/** Lines come so long after their records, in milliseconds: several of them at once. */
const delayMs = 50;
const usualRetryMs = 1_000;

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
  reading: Pick<AuditReading, 'ask' | 'epoch'>,
  file: LineFile,
  onProblem: (cause: unknown) => void,
  retryMs = usualRetryMs,
): LineFollower {
  let timer: NodeJS.Timeout | undefined;
  let running: Promise<void> | undefined;
  let again = false;
  let told: string | undefined;
  const catchUp = async () => {
    file.look();
    const epoch = reading.epoch();
    const { last } = file;
    // An epoch that was accepted counts from 0.
    for (let from: number | undefined = last.epoch === epoch ? last.index + 1 : 0; from !== undefined; ) {
      const answer = await reading.ask({
        ...{ of: 'records', from, limit: recordsPerPage, tenant: undefined, opId: undefined },
      });
      if (!answer.ok || !answer.value.found || !('page' in answer.value))
        throw new Error('the log cannot be read');
      // It is not known of which epoch these are.
      if (reading.epoch() !== epoch) throw new Error('a new epoch of the log has begun');
      file.append(answer.value.page.records.map((each) => ({ epoch, ...each })));
      from = answer.value.page.next;
    }
    told = undefined;
  };
  /** A full disk is full for hours, and one line says so. */
  const tell = (cause: unknown) => {
    const text = String(cause);
    if (text !== told) onProblem(cause);
    told = text;
  };
  const run = () => {
    timer = undefined;
    // Two at once would write the same records twice.
    again = running !== undefined;
    running ??= catchUp()
      .catch((cause: unknown) => {
        tell(cause);
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
      await catchUp().catch(tell);
      file.close();
    },
  };
}

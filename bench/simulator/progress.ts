/** The progress of a run, on standard error: on a terminal one line that changes, otherwise a line now and then. */
export interface Progress {
  begin(name: string): void;
  /** Calls offered so far in this run. */
  reached(calls: number): void;
  finished(calls: number): void;
  end(): void;
}

/** Of a log, or of somebody who watches. */
const intervalMs = { log: 5000, terminal: 200 } as const;

/** `expected`: calls of all runs together. */
export function createProgress(expected: number): Progress {
  const terminal = process.stderr.isTTY === true;
  const startedMs = performance.now();
  let lastMs = startedMs;
  let before = 0;
  let name = '';
  const show = (calls: number) => {
    const nowMs = performance.now();
    if (nowMs - lastMs < (terminal ? intervalMs.terminal : intervalMs.log)) return;
    lastMs = nowMs;
    const share = Math.min(0.999, (before + calls) / expected);
    const leftS = ((nowMs - startedMs) / 1000) * (1 / share - 1);
    const line = `${(share * 100).toFixed(0)} %, about ${leftS.toFixed(0)} s left: ${name}`;
    process.stderr.write(terminal ? `\r\x1b[K${line}` : `${line}\n`);
  };
  return {
    begin(next) {
      name = next;
      show(0);
    },
    reached: show,
    finished(calls) {
      before += calls;
      if (terminal) process.stderr.write('\r\x1b[K');
    },
    end() {
      const seconds = ((performance.now() - startedMs) / 1000).toFixed(1);
      process.stderr.write(`${Math.round(before).toLocaleString('en')} calls simulated in ${seconds} s\n`);
    },
  };
}

/** Says what is being measured and about how long the rest will take: one line that changes, or plain lines in a log. */
export interface Progress {
  scenario(name: string): void;
  steps(count: number): void;
  step(what: string): void;
  /** `failure` is told when the scenario gave no answer. */
  scenarioDone(failure?: string): void;
  end(): void;
}

export interface Planned {
  readonly name: string;
  readonly typicalSeconds: number;
}

export function createProgress(
  planned: readonly Planned[],
  /** The part of the typical time that a run takes. */
  share: number,
  output: NodeJS.WriteStream = process.stderr,
): Progress {
  const startedMs = performance.now();
  const expectedS = (item: Planned | undefined) => (item?.typicalSeconds ?? 0) * share;
  let index = -1;
  let scenarioStartedMs = startedMs;
  let count = 1;
  let done = 0;
  let label = '';
  let timer: NodeJS.Timeout | undefined;

  const elapsedS = (sinceMs: number) => (performance.now() - sinceMs) / 1000;
  const remainingS = (): number => {
    const current = expectedS(planned[index]);
    const spentS = elapsedS(scenarioStartedMs);
    // Once a quarter of the steps is done, they say more than the typical time does.
    const measuredS = done * 4 >= count && done > 0 ? (spentS / done) * count : current;
    const later = planned.slice(index + 1).reduce((sum, item) => sum + expectedS(item), 0);
    return Math.max(0, measuredS - spentS) + later;
  };
  const line = (): string => {
    const name = planned[index]?.name ?? '';
    const rest = remainingS();
    const about = rest < 60 ? `${Math.max(1, Math.round(rest))} s` : `${Math.round(rest / 60)} min`;
    return `[${index + 1}/${planned.length}] ${name}: ${Math.min(done + 1, count)}/${count} ${label} (about ${about} left)`;
  };
  const show = (): void => {
    if (!output.isTTY) return;
    output.write(`\r\x1b[2K${line().slice(0, output.columns - 1)}`);
  };
  if (output.isTTY) timer = setInterval(show, 1_000).unref();

  let started = false;
  return {
    scenario(name) {
      index = planned.findIndex((item) => item.name === name);
      scenarioStartedMs = performance.now();
      count = 1;
      done = 0;
      started = false;
      label = '';
      show();
    },
    steps(steps) {
      count = Math.max(1, steps);
    },
    step(what) {
      if (started) done++;
      started = true;
      label = what;
      if (output.isTTY) show();
      else output.write(`${line()}\n`);
    },
    scenarioDone(failure) {
      const name = planned[index]?.name ?? '';
      const took = elapsedS(scenarioStartedMs).toFixed(0);
      if (output.isTTY) output.write('\r\x1b[2K');
      output.write(
        failure === undefined
          ? `${name}: done in ${took} s\n`
          : `${name}: FAILED after ${took} s: ${failure}\n`,
      );
    },
    end() {
      clearInterval(timer);
    },
  };
}

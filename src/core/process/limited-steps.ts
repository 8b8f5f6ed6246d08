/** A step of a stop that did not end well. */
export type StepProblem =
  | { readonly step: string; readonly kind: 'late' }
  | { readonly step: string; readonly kind: 'failed'; readonly cause: unknown };

/** Waits for a step of a stop, but not longer than its limit: what hangs is reported and left behind. Never rejects. */
export function limitedSteps(limitMs: number, report: (problem: StepProblem) => void) {
  return async (step: string, work: Promise<unknown>): Promise<void> => {
    let timer: NodeJS.Timeout | undefined;
    const limit = new Promise<'late'>((resolve) => {
      timer = setTimeout(resolve, limitMs, 'late');
    });
    try {
      if ((await Promise.race([work, limit])) === 'late') report({ step, kind: 'late' });
    } catch (cause) {
      report({ step, kind: 'failed', cause });
    } finally {
      clearTimeout(timer);
    }
  };
}

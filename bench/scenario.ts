import type { Plot } from './report/plot.ts';
import type { Target } from './support/target.ts';

/** The time that a run takes for each figure. */
export interface Effort {
  readonly quick: boolean;
  /** The number of times that everything compared is measured, interleaved: A B C A B C …. */
  readonly rounds: number;
  /** Counted part of one load. */
  readonly windowMs: number;
  readonly warmUpMs: number;
}

export interface Context extends Effort {
  /** Says how many steps there will be; may be said again when that is known better. */
  steps(count: number): void;
  /** The next step begins. */
  step(what: string): void;
  /** Ends the servers of a scenario with it, also when it fails. */
  using<T extends Pick<Target, 'stop'>>(target: Promise<T>): Promise<T>;
}

/** One question and the way to its answer. */
export interface Scenario<Data> {
  readonly name: string;
  readonly question: string;
  /** The time of a full run on two cores; for the estimate of the time that remains. */
  readonly typicalSeconds: number;
  /** Plain data, which is written as JSON. */
  run(context: Context): Promise<Data>;
  render(data: Data): Rendered;
}

/** The result as a reader sees it. */
export interface Rendered {
  /** The answer, one sentence a line. */
  readonly answer: readonly string[];
  readonly tables: readonly Table[];
  readonly plots: readonly Plot[];
  /** Facts that a reader needs before believing it. */
  readonly notes: readonly string[];
}

export interface Table {
  readonly title: string;
  readonly columns: readonly string[];
  readonly rows: readonly (readonly string[])[];
}

/** Keeps the type of the data between `run` and `render`, and gives it up towards those who only hold scenarios. */
export function scenario<Data>(definition: Scenario<Data>): Scenario<unknown> {
  return { ...definition, render: (data) => definition.render(data as Data) };
}

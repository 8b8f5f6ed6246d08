/** One figure measured several times. */
export interface Measured {
  readonly median: number;
  readonly min: number;
  readonly max: number;
  readonly values: readonly number[];
}

/** Throws RangeError without values. */
export function measured(values: readonly number[]): Measured {
  if (values.length === 0) throw new RangeError('a median of nothing');
  const sorted = [...values].sort((a, b) => a - b);
  const middle = (sorted.length - 1) / 2;
  const median = ((sorted[Math.floor(middle)] as number) + (sorted[Math.ceil(middle)] as number)) / 2;
  return { median, min: sorted[0] as number, max: sorted.at(-1) as number, values };
}

/** `measured` of one member of each round. */
export function measuredOf<T>(rounds: readonly T[], member: (round: T) => number): Measured {
  return measured(rounds.map(member));
}

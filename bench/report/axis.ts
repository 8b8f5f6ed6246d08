/** The places of values along an axis, and those of them that are written beside it. */
export interface Axis {
  /** 0 at the start of the axis, 1 at its end. */
  place(value: number): number;
  readonly ticks: readonly number[];
}

export type Scale = 'linear' | 'log';

/** An axis that holds all `values`; a linear one begins at 0. Log axes take positive values only. */
export function axisFor(values: readonly number[], scale: Scale): Axis {
  const highest = Math.max(...values);
  return scale === 'log' ? logAxis(Math.min(...values), highest) : linearAxis(highest);
}

function linearAxis(highest: number): Axis {
  const step = roundStep((highest === 0 ? 1 : highest) / 5);
  const count = Math.ceil(highest / step) || 1;
  const end = count * step;
  return {
    place: (value) => value / end,
    // Multiples, not sums, so that 0.3 is not written 0.30000000000000004.
    ticks: Array.from({ length: count + 1 }, (_, n) => Number((n * step).toPrecision(10))),
  };
}

/** 1, 2 or 5 times a power of ten, at least `least`. */
function roundStep(least: number): number {
  const power = 10 ** Math.floor(Math.log10(least));
  const factor = [1, 2, 5, 10].find((candidate) => candidate * power >= least * 0.999) as number;
  return factor * power;
}

function logAxis(lowest: number, highest: number): Axis {
  const powers: number[] = [];
  // One decade more below: the logarithm of a value just under a power of ten is rounded up to it.
  const from = Math.floor(Math.log10(lowest)) - 1;
  const to = Math.ceil(Math.log10(highest));
  // Over more than three decades the twos and fives would run into each other.
  const factors = to - from > 4 ? [1] : [1, 2, 5];
  for (let power = from; power <= to; power++) {
    for (const factor of factors) powers.push(Number((factor * 10 ** power).toPrecision(10)));
  }
  const start = powers.filter((tick) => tick <= lowest).at(-1) as number;
  const end = powers.find((tick) => tick >= highest && tick > start) ?? start * 10;
  const width = Math.log(end / start);
  return {
    place: (value) => Math.log(value / start) / width,
    ticks: powers.filter((tick) => tick >= start && tick <= end),
  };
}

/** 1234567 as `1.2M`, 0.000012 as `0.000012`: short enough for an axis. */
export function tickText(value: number): string {
  const size = Math.abs(value);
  if (size >= 1e6) return `${Number((value / 1e6).toPrecision(3))}M`;
  if (size >= 1e3) return `${Number((value / 1e3).toPrecision(3))}k`;
  return String(Number(value.toPrecision(3)));
}

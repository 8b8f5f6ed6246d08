import type { Measured } from '../support/statistics.ts';

/** Three digits that count, thousands apart: nothing here is known better. */
export function figure(value: number): string {
  if (!Number.isFinite(value)) return '-';
  if (value >= 1_000) return Math.round(Number(value.toPrecision(3))).toLocaleString('en-US');
  return String(Number(value.toPrecision(3)));
}

/** `median (min-max)`. */
export function spread({ median, min, max, values }: Measured): string {
  return values.length === 1 ? figure(median) : `${figure(median)} (${figure(min)} to ${figure(max)})`;
}

export function percent(share: number): string {
  return `${Math.round(share * 100)} %`;
}

import { type Axis, axisFor, type Scale, tickText } from './axis.ts';

/** A picture of figures, as SVG text without anything to fetch. */
export type Plot = LinePlot | BarPlot;

export interface LinePlot {
  readonly kind: 'lines';
  readonly title: string;
  readonly x: AxisChoice;
  readonly y: AxisChoice;
  readonly series: readonly Series[];
  /** Horizontal lines such as a promise that is to be kept. */
  readonly limits?: readonly { readonly name: string; readonly y: number }[];
}

export interface AxisChoice {
  /** With its unit. */
  readonly label: string;
  readonly scale: Scale;
}

export interface Series {
  readonly name: string;
  readonly points: readonly Point[];
  /** For lines that belong together, such as quantiles of one thing: same colour, other dashes. */
  readonly colour?: number;
  readonly dash?: 'solid' | 'dashed' | 'dotted';
}

export interface Point {
  readonly x: number;
  readonly y: number;
  /** Ends of the spread. */
  readonly low?: number;
  readonly high?: number;
}

export interface BarPlot {
  readonly kind: 'bars';
  readonly title: string;
  /** Of the values, with its unit. */
  readonly label: string;
  readonly bars: readonly {
    readonly name: string;
    readonly value: number;
    readonly low: number;
    readonly high: number;
  }[];
}

/** Okabe and Ito's colours, which most colour-blind readers tell apart; yellow is left out, it is lost on white. */
const colours = ['#0072B2', '#D55E00', '#009E73', '#CC79A7', '#56B4E9', '#E69F00', '#000000'];
const limitColour = '#B00020';
const limitDash = '10 5';
const dashes = { solid: '', dashed: '7 4', dotted: '2 4' } as const;

const width = 1040;
const left = 84;
const legendWidth = 280;
const top = 40;
const bottom = 56;
const plotHeight = 320;
const barHeight = 34;
const barNameWidth = 310;
const gap = 24;
const legendLine = 20;

/** All plots of a report, one under the other. */
export function renderSvg(plots: readonly Plot[]): string {
  let y = 12;
  const parts: string[] = [];
  for (const plot of plots) {
    const { svg, height } = plot.kind === 'lines' ? renderLines(plot) : renderBars(plot);
    parts.push(`<g transform="translate(0 ${y})">${svg}</g>`);
    y += height + gap;
  }
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${y}" width="${width}" height="${y}" font-family="Helvetica, Arial, sans-serif" font-size="13">`,
    `<rect width="${width}" height="${y}" fill="#ffffff"/>`,
    ...parts,
    '</svg>\n',
  ].join('\n');
}

interface Drawn {
  readonly svg: string;
  readonly height: number;
}

function renderLines(plot: LinePlot): Drawn {
  const right = width - legendWidth;
  const points = plot.series.flatMap((series) => series.points);
  const ys = points.flatMap(({ y, low = y, high = y }) => [y, low, high]);
  const limits = plot.limits ?? [];
  const xAxis = axisFor(
    points.map(({ x }) => x),
    plot.x.scale,
  );
  const yAxis = axisFor([...ys, ...limits.map(({ y }) => y)], plot.y.scale);
  const atX = (x: number) => left + xAxis.place(x) * (right - left);
  const atY = (y: number) => top + plotHeight - yAxis.place(y) * plotHeight;
  const parts = [title(plot.title), ...frame(xAxis, yAxis, atX, atY, right)];
  parts.push(
    text(`${plot.x.label}`, (left + right) / 2, top + plotHeight + 42, 'middle'),
    `<text transform="translate(20 ${top + plotHeight / 2}) rotate(-90)" text-anchor="middle" fill="#333333">${escapeXml(plot.y.label)}</text>`,
  );
  const entries: LegendEntry[] = [];
  for (const [index, series] of plot.series.entries()) {
    const colour = colours[(series.colour ?? index) % colours.length] as string;
    const dash = dashes[series.dash ?? 'solid'];
    parts.push(...drawSeries(series, colour, dash, atX, atY));
    entries.push({ name: series.name, colour, dash });
  }
  for (const { name, y } of limits) {
    const at = round(atY(y));
    const stroke = `stroke="${limitColour}" stroke-width="1.5" stroke-dasharray="${limitDash}"`;
    parts.push(`<line x1="${left}" x2="${right}" y1="${at}" y2="${at}" ${stroke}/>`);
    entries.push({ name, colour: limitColour, dash: limitDash });
  }
  parts.push(...legend(entries, right + 18));
  return {
    svg: parts.join('\n'),
    height: Math.max(top + plotHeight + bottom, top + entries.length * legendLine),
  };
}

interface LegendEntry {
  readonly name: string;
  readonly colour: string;
  readonly dash: string;
}

function legend(entries: readonly LegendEntry[], x: number): string[] {
  return entries.flatMap(({ name, colour, dash }, index) => {
    const y = top + 12 + index * legendLine;
    return [
      `<line x1="${x}" x2="${x + 28}" y1="${y - 4}" y2="${y - 4}" stroke="${colour}" stroke-width="2.5" stroke-dasharray="${dash}"/>`,
      text(name, x + 36, y, 'start'),
    ];
  });
}

function drawSeries(
  { points }: Series,
  colour: string,
  dash: string,
  atX: (x: number) => number,
  atY: (y: number) => number,
): string[] {
  const line = points.map(({ x, y }) => `${round(atX(x))},${round(atY(y))}`).join(' ');
  const marks = points.flatMap(({ x, y, low, high }) => [
    `<circle cx="${round(atX(x))}" cy="${round(atY(y))}" r="3.2" fill="${colour}"/>`,
    ...(low === undefined || high === undefined
      ? []
      : [
          `<line x1="${round(atX(x))}" x2="${round(atX(x))}" y1="${round(atY(low))}" y2="${round(atY(high))}" stroke="${colour}" stroke-width="1" opacity="0.6"/>`,
        ]),
  ]);
  return [
    `<polyline points="${line}" fill="none" stroke="${colour}" stroke-width="2" stroke-dasharray="${dash}"/>`,
    ...marks,
  ];
}

function frame(
  xAxis: Axis,
  yAxis: Axis,
  atX: (x: number) => number,
  atY: (y: number) => number,
  right: number,
): string[] {
  const base = top + plotHeight;
  return [
    ...xAxis.ticks.flatMap((tick) => [
      `<line x1="${round(atX(tick))}" x2="${round(atX(tick))}" y1="${top}" y2="${base}" stroke="#e4e4e4"/>`,
      text(tickText(tick), atX(tick), base + 18, 'middle'),
    ]),
    ...yAxis.ticks.flatMap((tick) => [
      `<line x1="${left}" x2="${right}" y1="${round(atY(tick))}" y2="${round(atY(tick))}" stroke="#e4e4e4"/>`,
      text(tickText(tick), left - 8, atY(tick) + 4, 'end'),
    ]),
    `<path d="M${left} ${top} V${base} H${right}" fill="none" stroke="#333333"/>`,
  ];
}

function renderBars(plot: BarPlot): Drawn {
  const start = barNameWidth;
  const end = width - 110;
  const axis = axisFor(
    plot.bars.map(({ high, value }) => Math.max(high, value)),
    'linear',
  );
  const at = (value: number) => start + axis.place(value) * (end - start);
  const base = top + plot.bars.length * barHeight;
  const parts = [title(plot.title)];
  for (const tick of axis.ticks) {
    parts.push(
      `<line x1="${round(at(tick))}" x2="${round(at(tick))}" y1="${top}" y2="${base}" stroke="#e4e4e4"/>`,
      text(tickText(tick), at(tick), base + 18, 'middle'),
    );
  }
  for (const [index, { name, value, low, high }] of plot.bars.entries()) {
    const y = top + index * barHeight;
    const middle = y + barHeight / 2;
    parts.push(
      text(name, start - 10, middle + 4, 'end'),
      `<rect x="${start}" y="${y + 6}" width="${round(at(value) - start)}" height="${barHeight - 12}" fill="${colours[0]}"/>`,
      `<line x1="${round(at(low))}" x2="${round(at(high))}" y1="${middle}" y2="${middle}" stroke="#000000" stroke-width="1.5"/>`,
      text(tickText(value), Math.max(at(value), at(high)) + 8, middle + 4, 'start'),
    );
  }
  parts.push(
    `<path d="M${start} ${top} V${base} H${end}" fill="none" stroke="#333333"/>`,
    text(plot.label, (start + end) / 2, base + 40, 'middle'),
  );
  return { svg: parts.join('\n'), height: base + bottom - 8 };
}

function title(words: string): string {
  return `<text x="${left}" y="20" font-size="16" font-weight="bold" fill="#111111">${escapeXml(words)}</text>`;
}

function text(
  words: string,
  x: number,
  y: number,
  anchor: 'start' | 'middle' | 'end',
  colour = '#333333',
): string {
  return `<text x="${round(x)}" y="${round(y)}" text-anchor="${anchor}" fill="${colour}">${escapeXml(words)}</text>`;
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}

function escapeXml(words: string): string {
  return words.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}

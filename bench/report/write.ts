import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Effort, Rendered, Table } from '../scenario.ts';
import type { Commit, Machine } from './machine.ts';
import { renderSvg } from './plot.ts';

const generatorText: Readonly<Record<Machine['generator'], string>> = {
  native: 'native: open loops are Poisson processes, each request sent when it is due',
  node: 'in Node: open loops come in bursts of a millisecond, timed from their burst',
};

export interface Report {
  readonly name: string;
  readonly question: string;
  readonly startedAt: Date;
  readonly tookS: number;
  readonly command: string;
  readonly machine: Machine;
  readonly commit: Commit;
  readonly effort: Effort;
  readonly data: unknown;
  readonly rendered: Rendered;
}

/** Writes `<date>-<name>.json`, `.md` and, where there is something to draw, `.svg`; gives the Markdown's path. */
export function writeReport(directory: string, report: Report): string {
  mkdirSync(directory, { recursive: true });
  const { name, question, startedAt, tookS, command, machine, commit, effort, data, rendered } = report;
  const base = `${startedAt.toISOString().slice(0, 10)}-${name}`;
  const facts = { name, question, startedAt, tookS, command, commit, machine, effort };
  writeFileSync(
    join(directory, `${base}.json`),
    `${JSON.stringify({ ...facts, answer: rendered.answer, data }, undefined, 2)}\n`,
  );
  const drawn = rendered.plots.length > 0;
  if (drawn) writeFileSync(join(directory, `${base}.svg`), renderSvg(rendered.plots));
  const path = join(directory, `${base}.md`);
  writeFileSync(path, markdown(report, drawn ? `${base}.svg` : undefined));
  return path;
}

function markdown(report: Report, picture: string | undefined): string {
  const { name, question, rendered, effort, machine, commit } = report;
  const libraries = Object.entries(machine.libraries).map(([library, version]) => `${library} ${version}`);
  const facts = [
    ['when', `${report.startedAt.toISOString()}, ${report.tookS.toFixed(0)} s`],
    ['command', `\`${report.command}\``],
    ['commit', commit.changed ? `${commit.id}, with changes that are not committed` : commit.id],
    ['processor', `${machine.cpu}, ${machine.cores} cores for everything, the load generator too`],
    ['memory', `${machine.memoryGiB} GiB`],
    ['system', `${machine.system}, ${machine.kernel}`],
    ['Node.js', `${machine.node}, V8 ${machine.v8}, OpenSSL ${machine.openssl}`],
    ['engine', `${machine.engine}: ${libraries.join(', ')}`],
    ['load generator', generatorText[machine.generator]],
    [
      'rounds',
      `${effort.rounds}, interleaved; ${effort.windowMs} ms each after ${effort.warmUpMs} ms of warming up`,
    ],
    [
      'load before',
      `${machine.loadBefore.toFixed(2)}${machine.loadBefore > 0.5 ? ': the machine was not quiet' : ''}`,
    ],
  ] as const;
  return [
    `# ${name}`,
    question,
    rendered.answer.map((sentence) => `- ${sentence}`).join('\n'),
    ...(picture === undefined ? [] : [`![${name}](${picture})`]),
    ...rendered.tables.map(tableText),
    ...(rendered.notes.length === 0
      ? []
      : ['## To know', rendered.notes.map((note) => `- ${note}`).join('\n')]),
    '## Measured on',
    `| | |\n|---|---|\n${facts.map(([what, value]) => `| ${what} | ${value} |`).join('\n')}`,
    ...(effort.quick
      ? ['A quick run: it shows that the scenario works, its figures are not to be quoted.']
      : []),
  ]
    .join('\n\n')
    .concat('\n');
}

/** Markdown, which also reads well as it is. */
export function tableText({ title, columns, rows }: Table): string {
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  const rule = `|${columns.map((_, index) => (index === 0 ? '---' : '--:')).join('|')}|`;
  return [`## ${title}`, '', line(columns), rule, ...rows.map(line)].join('\n');
}

import { spawnSync } from 'node:child_process';
import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

export const root = join(import.meta.dirname, '..', '..');

/** README.md and every page of docs/, by their paths from the root of the checkout. */
export const pages: readonly string[] = ['README.md', ...globSync('docs/**/*.md', { cwd: root }).sort()];

export interface Block {
  /** As it is written behind the fence; empty where nothing is. */
  readonly language: string;
  readonly text: string;
}

export function textOf(page: string): string {
  return readFileSync(join(root, page), 'utf8');
}

export function blocksOf(page: string): Block[] {
  const all = textOf(page).matchAll(/^ *```(.*)\n([\s\S]*?)^ *```$/gm);
  return [...all].map(([, language = '', text = '']) => ({ language, text }));
}

/** The commands of a page's blocks for a shell, each with its continued lines. Throws where a block is no shell's. */
export function commandsOf(page: string): string[] {
  return blocksOf(page)
    .filter(({ language }) => /^(sh|bash|console)$/.test(language))
    .flatMap(({ text }) => splitCommands(page, text));
}

function splitCommands(page: string, text: string): string[] {
  const commands: string[] = [];
  let open = '';
  for (const line of text.split('\n')) {
    if (open === '' && (line.trim() === '' || line.startsWith('#'))) continue;
    open += open === '' ? line : `\n${line}`;
    if (!isWhole(open)) continue;
    commands.push(open);
    open = '';
  }
  if (open.trim() !== '') throw new Error(`${page}: no shell takes ${open}`);
  return commands;
}

function isWhole(command: string): boolean {
  if (/[|\\]$/.test(command)) return false;
  // Only what may open a quote, a substitution or a body is worth a process.
  if (!/['"`(){}]/.test(command)) return true;
  return spawnSync('sh', ['-n'], { input: `${command}\n` }).status === 0;
}

export const withoutComment = (command: string) => command.replace(/\s+# .*$/, '');

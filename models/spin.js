import { spawn, spawnSync } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { propertyOf } from './runs.js';

/** @typedef {import('./runs.js').Run} Run */

/**
 * @typedef {object} Outcome
 * @property {'held' | 'violated' | 'incomplete'} verdict
 * @property {string} [property] Which one was violated, or why the search is incomplete.
 * @property {number} states
 * @property {number} depth
 * @property {number} transitions
 * @property {number} memoryMb
 * @property {number} seconds Building and searching.
 */

const model = fileURLToPath(new URL('audit-log.pml', import.meta.url));
/** A search that wants more is reported as incomplete. The largest one takes some 1.3 GB. */
export const memoryLimitMb = 2_048;
/** Of steps; the deepest run has under 200. */
const depthLimit = 20_000;
/** The longest search takes half a minute on an idle core. */
const searchLimitMs = 150_000;

/** What is missing to check anything, as a sentence; undefined: nothing. */
export function missingTools() {
  const missing = ['spin', 'gcc'].filter((tool) => spawnSync(tool, ['--version']).error !== undefined);
  // There are other programs of this name.
  if (missing.length === 0 && !`${spawnSync('spin', ['-V']).stdout}`.startsWith('Spin Version'))
    missing.push('spin');
  if (missing.length > 0) return `${missing.join(' and ')} not found`;
  const compiled = spawnSync('gcc', ['-x', 'c', '-fsyntax-only', '-'], { input: '#include <stdio.h>\n' });
  return compiled.status === 0 ? undefined : 'the C library headers (libc6-dev) are not found';
}

/** @param {Run} run */
function definesOf(run) {
  const breadth = run.kind === 'check' ? [] : ['-DBREADTH_FIRST'];
  return [...breadth, ...Object.entries(run.defines).map(([name, value]) => `-D${name}=${value}`)];
}

/**
 * Checks are searched in depth and completely; mutants and limits in breadth, so that the trace is a shortest one.
 *
 * @param {Run} run
 * @param {string} directory Made here.
 * @param {(states: number) => void} progress
 * @returns {Promise<Outcome>}
 */
export async function search(run, directory, progress) {
  const startedMs = performance.now();
  await mkdir(directory);
  await execute('spin', [...definesOf(run), '-a', model], directory);
  const mode = run.kind === 'check' ? ['-O2'] : ['-O1', '-DBFS'];
  const safety = run.cycles ? [] : ['-DSAFETY'];
  const flags = ['-w', '-DNOREDUCE', `-DMEMLIM=${memoryLimitMb}`, ...mode, ...safety];
  await execute('gcc', [...flags, '-o', 'pan', 'pan.c'], directory);
  let states = 0;
  const output = await execute(
    join(directory, 'pan'),
    ['-n', `-m${depthLimit}`, ...(run.cycles ? ['-a'] : [])],
    directory,
    (line) => {
      const seen = /States=\s*([\d.e+]+)/.exec(line);
      if (seen === null) return;
      states = Number(seen[1]);
      progress(states);
    },
  );
  return { ...readOutcome(output), seconds: (performance.now() - startedMs) / 1000 };
}

/**
 * @param {string} output Of the checker.
 * @returns {Omit<Outcome, 'seconds'>}
 */
export function readOutcome(output) {
  const number = (/** @type {RegExp} */ pattern) => Number(pattern.exec(output)?.[1] ?? Number.NaN);
  const counts = {
    states: number(/([\d.e+]+) states, stored/),
    depth: number(/depth reached (\d+)/),
    transitions: number(/([\d.e+]+) transitions/),
    memoryMb: number(/([\d.]+)\s+total actual memory usage/),
  };
  const violated = /assertion violated \(broken!=(\d+)\)/.exec(output);
  if (violated !== null) {
    const property = propertyOf(violated[1] ?? '') ?? 'unknown';
    return { verdict: 'violated', property, ...counts };
  }
  if (output.includes('acceptance cycle')) {
    return { verdict: 'violated', property: 'PROGRESS', ...counts };
  }
  const cut = /MEMLIM bound|max search depth too small|Search not completed|aborted/.exec(output);
  const clean = /errors: 0\b/.test(output) && Number.isFinite(counts.states);
  if (cut !== null || !clean) return { verdict: 'incomplete', property: cut?.[0] ?? 'no result', ...counts };
  return { verdict: 'held', ...counts };
}

/**
 * The steps of the trace that the last search in this directory left.
 *
 * @param {Run} run
 * @param {string} directory
 */
export async function trace(run, directory) {
  const output = await execute(
    'spin',
    [...definesOf(run), '-t', '-k', 'audit-log.pml.trail', model],
    directory,
  );
  const steps = output.slice(0, output.indexOf('spin: trail ends')).split('\n');
  return steps
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('spin:') && !line.startsWith('Never claim'))
    .map((line) => line.replace(/^VIOLATED (\d+)$/, (_, number) => `${propertyOf(number)} is violated by:`));
}

/** @type {Set<import('node:child_process').ChildProcess>} */
const running = new Set();

export function stopSearches() {
  for (const child of running) child.kill();
}

/**
 * @param {string} command
 * @param {string[]} args
 * @param {string} directory
 * @param {(line: string) => void} [online]
 * @returns {Promise<string>}
 */
function execute(command, args, directory, online) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd: directory, stdio: ['ignore', 'pipe', 'pipe'] });
    running.add(child);
    let output = '';
    let rest = '';
    const take = (/** @type {Buffer} */ chunk) => {
      output += chunk;
      const lines = (rest + chunk).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) online?.(line);
    };
    child.stdout.on('data', take);
    child.stderr.on('data', take);
    const timer = setTimeout(() => child.kill(), searchLimitMs);
    child.on('error', reject);
    child.on('close', async (code, signal) => {
      clearTimeout(timer);
      running.delete(child);
      await writeFile(join(directory, `${command.split('/').at(-1)}.log`), output);
      if (online === undefined && code !== 0)
        reject(new Error(`${command} failed:\n${output.slice(-2_000)}`));
      else resolve(signal === null ? output : `${output}\nSearch not completed`);
    });
  });
}

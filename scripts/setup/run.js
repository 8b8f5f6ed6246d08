import { spawn } from 'node:child_process';
import { elapsed, progress, progressEveryMs } from './say.js';

/** Enough of a failing tool's first and last words to see why; what is between is noise. */
const headLines = 20;
const tailLines = 30;

/** @type {import('node:child_process').ChildProcess | undefined} */
let running;

/** Passes a signal on to the step at work, so that nothing is left behind when the set-up is interrupted. */
export function stopRunning() {
  running?.kill('SIGTERM');
}

/**
 * Runs a long step with its output held back, and says now and then that it is still at it.
 * @param {string} label what the reader sees, as in `installing packages`
 * @param {string} command @param {string[]} args
 * @param {{cwd: string, env?: NodeJS.ProcessEnv, counter?: RegExp}} options the first group of `counter` is "done/all" in its output
 * @returns {Promise<{ok: boolean, output: string[]}>} the first and last lines of its output, for a failure
 */
export function runStep(label, command, args, { cwd, env, counter }) {
  const started = Date.now();
  /** @type {string[]} */
  const output = [];
  let counted = '';
  let partial = '';
  const keep = (/** @type {Buffer} */ chunk) => {
    const lines = (partial + chunk.toString('utf8')).split(/[\r\n]+/);
    partial = lines.pop() ?? '';
    // A progress bar is updated in place without an end of line until it moves on.
    const seen = counter?.exec(partial) ?? null;
    if (seen !== null) counted = seen[1] ?? '';
    for (const line of lines) {
      const match = counter?.exec(line) ?? null;
      if (match !== null) counted = match[1] ?? '';
      else if (line.trim() !== '') output.push(line);
    }
    const surplus = output.length - headLines - tailLines;
    if (surplus > 0) output.splice(headLines, surplus);
  };

  return new Promise((resolve) => {
    const child = spawn(command, args, { cwd, env: env ?? process.env, stdio: ['ignore', 'pipe', 'pipe'] });
    running = child;
    const timer = setInterval(
      () => progress(`${label}: ${counted === '' ? '' : `${counted}, `}${elapsed(started)}`),
      progressEveryMs,
    );
    const finish = (/** @type {boolean} */ ok, /** @type {string | undefined} */ lastWord) => {
      clearInterval(timer);
      running = undefined;
      if (partial.trim() !== '' && counter?.test(partial) !== true) output.push(partial);
      if (lastWord !== undefined) output.push(lastWord);
      resolve({ ok, output });
    };
    child.stdout.on('data', keep);
    child.stderr.on('data', keep);
    child.once('error', (error) => finish(false, error.message));
    child.once('close', (code, signal) =>
      finish(code === 0, code === null ? `ended by ${signal}` : undefined),
    );
  });
}

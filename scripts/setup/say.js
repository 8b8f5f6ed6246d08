/** Everything the set-up has to say goes to standard error, so that `npm run -s` keeps standard output clean. */

const interactive = process.stderr.isTTY === true;
let progressShown = false;

/** @param {string} line */
export function say(line) {
  clearProgress();
  process.stderr.write(`set-up: ${line}\n`);
}

/**
 * Something the reader must not miss.
 * @param {string[]} lines
 */
export function sayLoudly(lines) {
  clearProgress();
  const rule = '!'.repeat(72);
  process.stderr.write(`${rule}\n${lines.map((line) => `!! ${line}\n`).join('')}${rule}\n`);
}

export function clearProgress() {
  if (!progressShown) return;
  process.stderr.write('\r\x1b[2K');
  progressShown = false;
}

/** A terminal gets one line that changes; a log gets a line now and then. */
export const progressEveryMs = interactive ? 500 : 10_000;

/** @param {string} line */
export function progress(line) {
  if (!interactive) {
    process.stderr.write(`set-up: ${line}\n`);
    return;
  }
  const width = (process.stderr.columns ?? 80) - 1;
  process.stderr.write(`\r\x1b[2K${`set-up: ${line}`.slice(0, width)}`);
  progressShown = true;
}

/** @param {number} sinceMs @returns {string} as in `2 min 5 s` */
export function elapsed(sinceMs) {
  const seconds = Math.round((Date.now() - sinceMs) / 1000);
  return seconds < 60 ? `${seconds} s` : `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
}

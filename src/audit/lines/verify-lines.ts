import { createReadStream } from 'node:fs';
import { createInterface } from 'node:readline';
import { type Line, noLine, readLine } from './line.ts';

export interface LineProblem {
  /** Of the file, from 1. */
  readonly line: number;
  readonly problem: string;
}

export interface VerifiedLines {
  readonly lines: number;
  readonly problems: readonly LineProblem[];
}

/** Past these a file is damaged as a whole. */
const maxProblems = 100;

/** Every line with its place. `head`: the newest line that was written; undefined where nobody knows. */
export async function verifyLines(
  path: string,
  key: Uint8Array,
  head: Line | undefined,
): Promise<VerifiedLines> {
  const problems: LineProblem[] = [];
  let before: Line = noLine;
  let number = 0;
  const found = (problem: string) => {
    if (problems.length < maxProblems) problems.push({ line: number, problem });
  };
  for await (const text of createInterface({
    input: createReadStream(path),
    crlfDelay: Number.POSITIVE_INFINITY,
  })) {
    number++;
    const read = readLine(key, text);
    if (!read.ok) {
      found(
        read.problem === 'malformed' ? 'is no line of this log' : 'was altered, or written under another key',
      );
      // The next one tells of it by its prev, which is not told again.
      before = { n: before.n + 1, index: before.index, hmac: '' };
      continue;
    }
    const { line, prev } = read;
    if (line.n > before.n + 1) found(`${line.n - before.n - 1} lines before it are missing`);
    else if (line.n <= before.n) found(`is line ${line.n}, in the wrong place or twice`);
    else if (before.hmac !== '' && prev !== before.hmac) found('does not follow the line before it');
    before = line;
  }
  if (head !== undefined && head.n > before.n) {
    number++;
    found(`${head.n - before.n} lines at the end are missing`);
  }
  return { lines: number, problems };
}

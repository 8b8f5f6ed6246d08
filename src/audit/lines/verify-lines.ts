import { createReadStream } from 'node:fs';
import { type Line, type LineKey, maxLineBytes, noLine, readLine } from './line.ts';

export interface LineProblem {
  /** Of the file, from 1. */
  readonly line: number;
  readonly problem: string;
}

export interface VerifiedLines {
  readonly lines: number;
  readonly problems: readonly LineProblem[];
  /** The last line has no end: it is being written, or it was cut. It is among the problems. */
  readonly unended: boolean;
}

/** Past these a file is damaged as a whole. */
const maxProblems = 100;

/** Every line with its place. `head`: the newest line that was written; undefined where nobody knows. */
export async function verifyLines(
  path: string,
  key: LineKey,
  head: Line | undefined,
): Promise<VerifiedLines> {
  const problems: LineProblem[] = [];
  let before: Line = noLine;
  let number = 0;
  /** Lines since then that nothing vouches for. */
  let doubtful = 0;
  const found = (problem: string) => {
    if (problems.length < maxProblems) problems.push({ line: number, problem });
  };
  let unended = false;
  for await (const { text, ended } of linesOf(path)) {
    number++;
    if (!ended) {
      unended = true;
      found('has no end: it is being written, or was cut');
      doubtful++;
      continue;
    }
    const read = readLine(key, text);
    if (!read.ok) {
      found(
        read.problem === 'malformed' ? 'is no line of this log' : 'was altered, or written under another key',
      );
      doubtful++;
      continue;
    }
    const { line, prev } = read;
    const missing = line.n - before.n - 1;
    // Those that are told of already may be in their place, or be put between.
    if (missing > doubtful) found(`${missing - doubtful} lines before it are missing`);
    else if (line.n <= before.n) found(`is line ${line.n}, in the wrong place or twice`);
    else if (missing === 0 && prev !== before.hmac) found('does not follow the line before it');
    before = line;
    doubtful = 0;
  }
  if (head !== undefined && head.n > before.n + doubtful) {
    number++;
    found(`${head.n - before.n - doubtful} lines at the end are missing`);
  }
  return { lines: number, problems, unended };
}

/** By line feeds alone: a record may hold other characters that some tools end a line at. Of a line that is too long, its beginning. */
async function* linesOf(path: string): AsyncGenerator<{ readonly text: string; readonly ended: boolean }> {
  const decoded = (parts: readonly Buffer[]) => Buffer.concat(parts).toString();
  let parts: Buffer[] = [];
  let length = 0;
  const keep = (part: Buffer) => {
    if (length <= maxLineBytes) parts.push(part);
    length += part.length;
  };
  for await (const chunk of createReadStream(path) as AsyncIterable<Buffer>) {
    let from = 0;
    for (let end = chunk.indexOf(0x0a); end >= 0; end = chunk.indexOf(0x0a, from)) {
      keep(chunk.subarray(from, end));
      yield { text: decoded(parts), ended: true };
      parts = [];
      length = 0;
      from = end + 1;
    }
    if (from < chunk.length) keep(chunk.subarray(from));
  }
  if (parts.length > 0) yield { text: decoded(parts), ended: false };
}

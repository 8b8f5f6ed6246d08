/** Ends a command: what is wrong and what to do goes to standard error, so that standard output stays clean. */
export function fail(...lines: readonly string[]): never {
  for (const line of lines) process.stderr.write(`intaglio: ${line}\n`);
  process.exit(1);
}

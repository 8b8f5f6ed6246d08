/** Ends a command: what is wrong and what to do goes to standard error, so that standard output stays clean. */
export function fail(...lines: readonly string[]): never {
  return failWith(1, ...lines);
}

/** As above, for commands whose exit status says more than that they failed. */
export function failWith(status: number, ...lines: readonly string[]): never {
  for (const line of lines) process.stderr.write(`intaglio: ${line}\n`);
  process.exit(status);
}

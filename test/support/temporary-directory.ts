import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';

/** A directory of this test alone, removed at its end. */
export function temporaryDirectory(context: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'intaglio-test-'));
  context.after(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

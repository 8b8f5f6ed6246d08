import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after } from 'node:test';
import { openLogReader } from '../../../src/audit/reading/log-reader.ts';
import type { AuditLogClient } from '../../../src/audit/service/log-client.ts';
import { event, until } from './log.ts';

/** Uses of keys until it is ended: so many at once, then one after the other, of which every third waits for `synced`. */
export interface Load {
  /** The op_ids of those that were answered: their signatures have left. */
  readonly answered: readonly string[];
  /** Resolves when so many more were answered. */
  goesOn(more: number, what: string): Promise<void>;
  end(): Promise<void>;
}

// A test that fails leaves its load, which would keep the process.
let over = false;
after(() => {
  over = true;
});

export function signOn(log: AuditLogClient, atOnce = 0): Load {
  const answered: string[] = [];
  let load = true;
  const sign = async (level: 'written' | 'synced') => {
    if (!log.reserve(1)) return;
    const use = event();
    const outcome = await log.append(use, level);
    if (outcome.ok) answered.push(use.opId);
  };
  const signing = (async () => {
    await Promise.all(Array.from({ length: atOnce }, () => sign('written')));
    while (load && !over) {
      await sign(answered.length % 3 === 0 ? 'synced' : 'written');
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  })();
  return {
    answered,
    async goesOn(more, what) {
      const before = answered.length;
      await until(() => answered.length > before + more, `${what}: signing goes on`);
    },
    async end() {
      load = false;
      await signing;
    },
  };
}

/** The op_ids of all uses of keys on the log in this directory, after it was closed. */
export function recordedUses(directory: string): string[] {
  const reader = openLogReader(join(directory, 'audit', 'e1'));
  const found: string[] = [];
  for (const { record } of reader.records()) {
    if (record.purpose === 'sign') found.push(record.op_id);
  }
  return found;
}

/** Each answer has its record, and none has two. */
export function assertAllLogged(answered: readonly string[], recorded: readonly string[]): void {
  const logged = new Set(recorded);
  assert.equal(logged.size, recorded.length, 'no record twice');
  assert.deepEqual(
    answered.filter((opId) => !logged.has(opId)),
    [],
    'each answer has its record',
  );
}

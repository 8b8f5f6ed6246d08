import assert from 'node:assert/strict';
import test from 'node:test';
import { createReload } from '../../src/assemble/reload.ts';
import { type Config, loadConfig } from '../../src/config/load.ts';
import type { Reloadable } from '../../src/config/reload.ts';
import { createHealth } from '../../src/observe/health.ts';
import { createLog } from '../../src/observe/log.ts';

function load(...argv: string[]) {
  return loadConfig({ argv, env: {}, cores: 1, algorithmNames: [], readFile: () => assert.fail() });
}

function start(part: Reloadable) {
  const first = load();
  assert.ok(first.ok);
  const settings: { now: Config } = { now: first.config };
  const health = createHealth();
  const lines: string[] = [];
  const recorded: unknown[] = [];
  const holds: Reloadable = {
    prepare: (next) => ({
      commit() {
        settings.now = next;
      },
    }),
  };
  const reload = createReload({
    ...{ settings, health, parts: [holds, part] },
    log: createLog('info', 'test', { write: (line) => void lines.push(line) }),
    record: (taken) => void recorded.push(taken),
  });
  return { settings, health, lines, recorded, reload };
}

test('a part that throws keeps the reload out, and ends nothing', () => {
  let broken = true;
  const { settings, health, lines, recorded, reload } = start({
    prepare() {
      if (broken) throw new Error('a bug');
      return { commit: () => {} };
    },
  });
  const before = settings.now;
  reload(load('--sign-rate-limit=7'));
  assert.deepEqual([settings.now, health.readiness().missing, recorded], [before, ['config'], []]);
  assert.match(lines.join(''), /could not be prepared: a bug/);
  broken = false;
  reload(load('--sign-rate-limit=7'));
  assert.deepEqual([settings.now.signRateLimit, health.readiness().missing], [7, []]);
  assert.equal(recorded.length, 1);
});

test('two reloads are taken one after the other, and the last one holds', () => {
  const { settings, recorded, reload } = start({ prepare: () => ({ commit: () => {} }) });
  reload(load('--sign-rate-limit=7'));
  reload(load('--sign-rate-limit=8'));
  assert.equal(settings.now.signRateLimit, 8);
  const differences = recorded.map((taken) => (taken as { changed: readonly unknown[] }).changed);
  assert.deepEqual(differences, [
    [{ member: 'sign_rate_limit', before: '500', after: '7' }],
    [{ member: 'sign_rate_limit', before: '7', after: '8' }],
  ]);
});

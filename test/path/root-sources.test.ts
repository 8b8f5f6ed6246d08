import assert from 'node:assert/strict';
import { join } from 'node:path';
import test from 'node:test';
import { writeRootSources } from '../../src/custody/root-key/sources-file.ts';
import { startInProcess } from '../support/in-process.ts';
import { temporaryDirectory } from '../support/temporary-directory.ts';

test('a start says which source of the root key did not open before the one that did', async (t) => {
  const dataDir = join(temporaryDirectory(t), 'data');
  const first = await startInProcess({ dataDir });
  await first.stop();
  const of = { createdAtMs: 1, generation: 1, root: '0123456789abcdef' };
  writeRootSources(dataDir, [
    { ...of, id: 'handed', kind: 'credential', name: 'root.key' },
    { ...of, id: 'file', kind: 'file', path: 'root.key' },
  ]);
  const service = await startInProcess({ dataDir });
  t.after(() => service.stop());
  const line = service.log.find((text) => text.includes('a source of the root key does not open'));
  const { level, reason, by } = JSON.parse(line ?? '{}');
  assert.equal(level, 'warn');
  assert.match(reason, /root\.key.*systemd|credential/i);
  assert.match(by, /data.root\.key/);
});

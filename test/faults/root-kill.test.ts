import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { startInProcess } from '../support/in-process.ts';
import { idOf, sealingClient } from '../support/sealing-client.ts';
import { helloWorldB3, temporaryDirectory } from '../support/service.ts';

const cli = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));
/** `npm run drill:root` kills 100 times. */
const kills = Number(process.env.DRILL_KILLS ?? 2);
const keys = 40;

test('a command that rotates the root key is killed at random points, and every key goes on signing', {
  timeout: 60_000 + kills * 10_000,
}, async () => {
  const dataDir = temporaryDirectory();
  const first = await startInProcess({ dataDir });
  const made = sealingClient(first);
  const kids = await Promise.all(Array.from({ length: keys }, () => made.create('ed25519', 'kill')));
  assert.equal(await first.stop(), 0);
  for (let n = 0; n < kills; n++) {
    const rotating = spawn(process.execPath, [cli, 'root', 'rotate', '--data-dir', dataDir], {
      stdio: 'ignore',
    });
    const ended = once(rotating, 'exit');
    // A start takes some 600 ms, and the rotation of so few records 100.
    await Promise.race([ended, delay(400 + Math.random() * 600)]);
    rotating.kill('SIGKILL');
    await ended;
    const again = await startInProcess({ dataDir });
    const { good } = sealingClient(again);
    for (const kid of kids.slice(0, 5)) await good('/sign', { kid: idOf(kid), payload_b3: helloWorldB3 });
    assert.equal(await again.stop(), 0);
  }
  const last = await startInProcess({ dataDir });
  const { good } = sealingClient(last);
  for (const kid of kids) await good('/sign', { kid: idOf(kid), payload_b3: helloWorldB3 });
  assert.equal(await last.stop(), 0);
});

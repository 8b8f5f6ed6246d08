import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test, { describe } from 'node:test';
import { fileURLToPath } from 'node:url';
import { startInProcess } from '../support/in-process.ts';
import { listenerKinds } from '../support/listener-kinds.ts';
import type { ListeningService } from '../support/service.ts';
import { goldenParts } from './cases.ts';
import { Facts, type GoldenBlock, runCase, tokensFor } from './client.ts';

// The whole API is the same over every listener, byte for byte, but for a header of uWebSockets.js.

const file = fileURLToPath(new URL('answers.json', import.meta.url));
const expected = new Map(
  (JSON.parse(readFileSync(file, 'utf8')) as GoldenBlock[]).map((block) => [block.name, plain(block)]),
);

function plain(block: GoldenBlock): GoldenBlock {
  return { ...block, headers: block.headers.filter((line) => !line.startsWith('uWebSockets:')) };
}

const [part] = goldenParts;

for (const kind of listenerKinds) {
  describe(`the whole API over ${kind.name}`, { timeout: 300_000 }, () => {
    let service: ListeningService | undefined;
    let tokens: ReturnType<typeof tokensFor>;
    const facts = new Facts();

    test('the service starts', async () => {
      service = await startInProcess({
        ...{ listen: true, makeListener: (limits) => kind.make(limits) },
        env: { KMS_LOG_LEVEL: 'info', ...part?.env },
      });
      tokens = tokensFor(service);
    });

    for (const asked of part?.cases ?? []) {
      test(asked.name, async () => {
        assert.ok(service);
        assert.deepEqual(
          plain(await runCase(service, tokens[asked.as], asked, facts)),
          expected.get(asked.name),
        );
      });
    }

    test('the service stops', async () => {
      assert.equal(await service?.stop(), 0);
    });
  });
}

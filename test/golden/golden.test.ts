import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import test, { after, describe } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { servedEngines } from '../support/engines.ts';
import { startInProcess } from '../support/in-process.ts';
import { call, type ListeningService, temporaryDirectory } from '../support/service.ts';
import { goldenParts } from './cases.ts';
import { Facts, type GoldenBlock, runCase, tokensFor } from './client.ts';
import { normaliseJson } from './normalise.ts';

// What clients and auditors see, byte for byte but for what differs from run to run. `INTAGLIO_GOLDEN=write` writes the
// files anew, from the first engine; the others are compared with it.

const file = (name: string) => fileURLToPath(new URL(name, import.meta.url));
const answersFile = file('answers.json');
const recordsFile = file('records.json');

const writing = process.env.INTAGLIO_GOLDEN === 'write';
const answers = new Map<string, string>();
const records: string[] = [];
if (!writing) {
  for (const block of JSON.parse(readFileSync(answersFile, 'utf8')) as GoldenBlock[])
    answers.set(block.name, textOf(block));
  records.push(...(JSON.parse(readFileSync(recordsFile, 'utf8')) as unknown[]).map(textOf));
}

function textOf(value: unknown): string {
  return JSON.stringify(value, undefined, 2);
}

/** A list as JSON.stringify writes it, blocks with an empty line between them. */
function fileOf(blocks: readonly string[]): string {
  return `[\n${blocks.join(',\n\n')}\n]\n`;
}

const names = goldenParts.flatMap(({ cases }) => cases.map(({ name }) => name));

test('the table and the file name the same requests, each once, in the same order', () => {
  assert.equal(new Set(names).size, names.length);
  if (!writing) assert.deepEqual([...answers.keys()], names);
});

for (const [engineNumber, { name: engine }] of servedEngines().entries()) {
  const first = writing && engineNumber === 0;

  describe(`golden answers with the ${engine} engine`, { timeout: 300_000 }, () => {
    let service: ListeningService | undefined;
    let dataDir = temporaryDirectory();
    let facts = new Facts();

    for (const part of goldenParts) {
      describe(part.name, () => {
        let tokens: ReturnType<typeof tokensFor>;

        test('the service starts', async () => {
          if (!part.sameData) {
            dataDir = temporaryDirectory();
            facts = new Facts();
          }
          service = await startInProcess({
            listen: true,
            dataDir,
            env: { KMS_ENGINE: engine, KMS_LOG_LEVEL: 'info', ...part.env },
          });
          tokens = tokensFor(service);
        });

        for (const asked of part.cases) {
          test(asked.name, async () => {
            assert.ok(service);
            const block = textOf(await runCase(service, tokens[asked.as], asked, facts));
            if (first) answers.set(asked.name, block);
            assert.equal(block, answers.get(asked.name));
          });
        }

        if (part === goldenParts[0]) {
          test('the records that these calls left', async () => {
            assert.ok(service);
            const found = await recordsOf(service, facts, records.length);
            if (first) records.push(...found);
            assert.deepEqual(found, records);
          });
        }

        test('the service stops', async () => {
          assert.equal(await service?.stop(), 0);
          service = undefined;
        });
      });
    }

    after(async () => {
      await service?.stop();
    });
  });
}

after(() => {
  if (!writing) return;
  writeFileSync(answersFile, fileOf([...answers.values()]));
  writeFileSync(recordsFile, fileOf(records));
});

interface Entry {
  readonly record: { readonly key_id: string; readonly seq: number };
}

/**
 * All records, those of a key together. Some are written after the answer has left, so until there are `count`; where the
 * count is not known, until for a second there are no more.
 */
async function recordsOf(
  service: ListeningService,
  { names: kept }: Facts,
  count: number,
): Promise<string[]> {
  let found: Entry[] = [];
  for (let tries = 0; tries < 20 && (count === 0 || found.length < count); tries++) {
    if (tries > 0) await wait(250);
    const before = found.length;
    found = (await call(service, service.token, 'GET', '/v1/kms/audit/records?limit=1000')).body.records;
    if (count === 0 && tries > 4 && found.length === before) break;
  }
  const keys = [...new Set(found.map(({ record }) => record.key_id))];
  return keys.flatMap((keyId) =>
    found
      .filter(({ record }) => record.key_id === keyId)
      .sort((a, b) => a.record.seq - b.record.seq)
      .map(({ record }) => textOf(normaliseJson(record, kept))),
  );
}

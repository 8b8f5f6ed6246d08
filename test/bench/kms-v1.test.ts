import assert from 'node:assert/strict';
import test from 'node:test';
import type { LoadRow } from '../../bench/scenarios/kms-v1.ts';
import { isKept, loadTargets, renderKmsV1 } from '../../bench/scenarios/kms-v1.ts';
import { renderScale } from '../../bench/scenarios/kms-v1-scale.ts';
import type { Figures } from '../../bench/support/measure.ts';
import { writeTrustAnchors } from '../../bench/support/trust-anchors.ts';
import { readCertificate } from '../../src/trust/certificate.ts';
import { developmentMode } from '../support/development-mode.ts';
import { testEngineOptions } from '../support/engines.ts';
import { startInProcess } from '../support/in-process.ts';
import { developmentClient } from '../support/kms-v1.ts';
import { temporaryDirectory } from '../support/service.ts';

const figuresOf = (p95: number, statuses: Readonly<Record<string, number>> = { '200': 100 }): Figures => {
  const latencyMs = { p50: p95 / 2, p95, p99: p95 * 1.5, p999: p95 * 2, max: p95 * 3, count: 100 };
  return {
    ...{ offeredPerSecond: 100, okPerSecond: 100, refusedPerSecond: 0, latencyMs, refusalMs: latencyMs },
    ...{ cpuUs: 100, mainThreadUs: 50, generatorCpuShare: 0.1, statuses },
  };
};

const rowOf = (n: 0 | 1 | 2 | 3 | 4, ...rounds: readonly Figures[]): LoadRow => ({
  ...loadTargets[n],
  rounds: rounds.map((figures) => ({ ...figures, unanswered: 0 })),
});

test('a target is kept by the median of its rounds, and by no load of which something was refused or left', () => {
  const [, sign] = loadTargets;
  const at = (share: number) => figuresOf(sign.p95Ms * share);
  assert.equal(isKept(rowOf(1, at(1), at(3), at(0.5))), true);
  assert.equal(isKept(rowOf(1, at(1.1), at(1.1), at(0.5))), false);
  assert.equal(isKept(rowOf(1, figuresOf(1, { '200': 99, '429': 1 }))), false);
  const { rounds, ...row } = rowOf(1, at(1));
  const left = (unanswered: number) => ({ ...row, rounds: rounds.map((each) => ({ ...each, unanswered })) });
  assert.deepEqual([isKept(left(50)), isKept(left(51))], [true, false]);
});

test('the report of the load says of each operation whether its target is kept', () => {
  const rows = ([0, 1, 2, 3, 4] as const).map((n) => rowOf(n, figuresOf(n === 2 ? 21 : 2)));
  const pool = { ready: 3_000, taken: 40, missed: 0, refillPerSecond: 12 };
  const { answer, tables } = renderKmsV1({ alone: rows, together: rows, togetherCpuUs: [120], pool });
  assert.match(answer[0] as string, /sign p95 2 ms of 50 \(kept\); verify p95 21 ms of 20 \(NOT KEPT\)/);
  assert.match(answer[2] as string, /held 3,000 .* 40 of them became keys, none was missed, .* 12 a second/);
  for (const { columns, rows } of tables)
    for (const row of rows) assert.equal(row.length, columns.length, row.join(' | '));
});

test('the report of many keys says how many times p95 is that of a hundred', () => {
  const start = { listeningMs: 900, restsMs: 1_000, residentBytes: 2 ** 28, anonymousBytes: 2 ** 27 };
  const row = { ratePerSecond: 400, small: [figuresOf(1)] };
  const { answer, tables } = renderScale({
    ...{ small: { keys: 100, anchors: 100 }, large: { keys: 100_000, anchors: 50_000 } },
    ...{ starts: { small: [start], large: [start] }, loadedBytes: { small: 2 ** 27, large: 2 ** 28 } },
    rows: [
      { ...row, name: 'sign', hundred: [figuresOf(1.1)], any: [figuresOf(1.3)] },
      { ...row, name: 'list 20 keys', hundred: [], any: [figuresOf(0.9)] },
    ],
  });
  assert.match(answer[0] as string, /100,000 keys and 50,000 trust anchors .* 1\.3 times .*NOT KEPT/);
  assert.deepEqual(
    tables[0]?.rows.map((cells) => cells.at(-1)),
    ['not kept', 'kept'],
  );
  for (const { columns, rows } of tables)
    for (const cells of rows) assert.equal(cells.length, columns.length, cells.join(' | '));
});

test('trust anchors that were written into a stopped service are those that it has then', async () => {
  const dataDir = temporaryDirectory();
  const ids = await writeTrustAnchors(dataDir, 3, {
    KMS_KEY_CACHE_BYTES: String(testEngineOptions.keyCacheBytes),
  });
  const service = await startInProcess({ dataDir, env: developmentMode });
  try {
    const client = developmentClient(service);
    const query = new URLSearchParams({ ...client.place }).toString();
    const { status, body } = await client.send('GET', `/trust-anchors?${query}`);
    assert.equal(status, 200);
    const found = (body.trust_anchors as { trust_anchor_id: string }[]).map((each) => each.trust_anchor_id);
    assert.deepEqual(found.sort(), [...ids].sort());
    const one = await client.send('GET', `/trust-anchors/${ids[0]}?${query}`);
    assert.equal(one.body.anchor_type, 'internal_ca');
    // The indexes are those that the service makes: it knows the certificate again.
    const again = await client.send('POST', '/trust-anchors', {
      body: { certificate: Buffer.from(one.body.certificate).toString('base64'), anchor_type: 'internal_ca' },
      headers: { 'x-approval-token': await client.approval('trust_anchor', { request: {} }) },
    });
    assert.equal(again.body.trust_anchor_id, ids[0], again.text);
    const read = readCertificate(Buffer.from(one.body.certificate));
    assert.deepEqual(
      [one.body.serial_number, one.body.sha256, one.body.subject],
      [read?.serial, read?.sha256, read?.library.subject],
    );
  } finally {
    await service.stop();
  }
});

import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import fc from 'fast-check';
import { axisFor, tickText } from '../../bench/report/axis.ts';
import { figure } from '../../bench/report/figures.ts';
import { renderSvg } from '../../bench/report/plot.ts';
import { writeReport } from '../../bench/report/write.ts';
import { gates, passes } from '../../bench/slo/gates.ts';
import { measured } from '../../bench/support/statistics.ts';

const positive = fc.double({ min: 1e-6, max: 1e9, noNaN: true });

test('an axis holds every value and has ticks from one end to the other', () => {
  fc.assert(
    fc.property(
      fc.array(positive, { minLength: 1, maxLength: 20 }),
      fc.constantFrom('linear', 'log'),
      (values, scale) => {
        const axis = axisFor(values, scale);
        assert.ok(axis.ticks.length >= 2 && axis.ticks.length <= 50);
        assert.ok(Math.abs(axis.place(axis.ticks[0] as number)) < 1e-9);
        assert.ok(Math.abs(axis.place(axis.ticks.at(-1) as number) - 1) < 1e-9);
        for (const value of values) {
          const place = axis.place(value);
          assert.ok(place >= -1e-6 && place <= 1 + 1e-6, `${value} lies at ${place}`);
        }
      },
    ),
  );
});

test('an axis begins below a value just under a power of ten', () => {
  const { ticks, place } = axisFor([999_999_999.999_997_9], 'log');
  assert.ok((ticks[0] as number) < 1e9 && ticks.length >= 2);
  assert.ok(place(999_999_999.999_997_9) <= 1);
});

test('ticks and figures are short', () => {
  assert.deepEqual([0, 0.5, 20, 2_000, 1_500_000].map(tickText), ['0', '0.5', '20', '2k', '1.5M']);
  assert.deepEqual([0.012345, 5.678, 123.4, 9_876.5, Number.NaN].map(figure), [
    '0.0123',
    '5.68',
    '123',
    '9,880',
    '-',
  ]);
});

test('the median lies in the middle, between the least and the greatest', () => {
  assert.deepEqual(measured([3, 1, 2]), { median: 2, min: 1, max: 3, values: [3, 1, 2] });
  assert.equal(measured([4, 1, 2, 3]).median, 2.5);
  assert.throws(() => measured([]), RangeError);
});

test('names in a plot cannot break out of its markup', () => {
  const svg = renderSvg([
    {
      kind: 'lines',
      title: 'a < b & c',
      x: { label: 'x', scale: 'linear' },
      y: { label: '<y>', scale: 'log' },
      series: [{ name: '</svg>', points: [{ x: 1, y: 2, low: 1, high: 3 }] }],
      limits: [{ name: 'limit', y: 2 }],
    },
    { kind: 'bars', title: 'bars', label: 'us', bars: [{ name: '<b>', value: 3, low: 2, high: 4 }] },
  ]);
  assert.equal(svg.match(/<\/svg>/g)?.length, 1);
  assert.ok(svg.includes('a &lt; b &amp; c') && svg.includes('&lt;/svg&gt;') && svg.includes('&lt;b&gt;'));
  assert.ok(!svg.includes('NaN') && !svg.includes('undefined'));
});

test('a report says what was measured, where, and how', () => {
  const directory = mkdtempSync(join(tmpdir(), 'intaglio-bench-'));
  try {
    const path = writeReport(directory, {
      name: 'example',
      question: 'How fast?',
      startedAt: new Date('2026-01-02T03:04:05Z'),
      tookS: 6,
      command: 'npm run bench -- example',
      machine: {
        cpu: 'a processor',
        cores: 2,
        memoryGiB: 4,
        system: 'a system',
        kernel: 'Linux 6',
        node: 'v24',
        openssl: '3.5',
        v8: '13',
        engine: 'native',
        libraries: { liboqs: '0.13' },
        generator: 'native',
        loadBefore: 1.5,
      },
      commit: { id: 'abc', changed: true },
      effort: { quick: true, rounds: 1, windowMs: 5, warmUpMs: 1 },
      data: { figures: [1, 2] },
      rendered: {
        answer: ['Very.'],
        tables: [{ title: 'Times', columns: ['what', 'us'], rows: [['sign', '5']] }],
        plots: [],
        notes: ['A note.'],
      },
    });
    assert.deepEqual(readdirSync(directory).sort(), ['2026-01-02-example.json', '2026-01-02-example.md']);
    const text = readFileSync(path, 'utf8');
    for (const part of [
      'How fast?',
      'Very.',
      '| sign | 5 |',
      'A note.',
      'a processor',
      'abc, with changes',
      'npm run bench -- example',
      'Poisson',
      'the machine was not quiet',
      'not to be quoted',
    ]) {
      assert.ok(text.includes(part), part);
    }
    const json = JSON.parse(readFileSync(join(directory, '2026-01-02-example.json'), 'utf8'));
    assert.deepEqual(json.data, { figures: [1, 2] });
  } finally {
    rmSync(directory, { recursive: true });
  }
});

test('a gate is missed by a value beyond its limit and by one that is no number', () => {
  for (const gate of gates) {
    const beyond = gate.mustBe === 'at most' ? gate.limit * 1.001 : gate.limit * 0.999;
    assert.equal(passes(gate, { value: gate.limit, detail: '' }), true, gate.name);
    assert.equal(passes(gate, { value: beyond, detail: '' }), false, gate.name);
    assert.equal(passes(gate, { value: Number.NaN, detail: '' }), false, gate.name);
  }
});

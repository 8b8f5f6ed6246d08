import assert from 'node:assert/strict';
import test, { type TestContext } from 'node:test';
import fc from 'fast-check';
import { parseRfc3339 } from '../../src/core/clock.ts';
import { batchStatuses } from '../../src/engine/batch.ts';
import type { VerifyRequest } from '../../src/operations/verify.ts';
import { noPqPolicy } from '../../src/policy/phases.ts';
import { codeOf, SetClock, unwrap } from '../support/keyring.ts';
import { acme, openOperations, payloadBlake3, planOf } from '../support/operations.ts';

const dayMs = 86_400_000;
const halves = { classical: new Uint8Array(64), postQuantum: new Uint8Array(3_309) };
const cutoverMs = new SetClock().nowMs + dayMs;

/** Keys that were made a day before the cut-over, which are looked at this long after it. */
async function afterCutover(t: TestContext, phase: 'and' | 'pq_only', days: number) {
  const clock = new SetClock();
  const opened = openOperations(t, {
    clock,
    pqPolicy: { ...noPqPolicy, phase, grace: { madeBefore: cutoverMs, until: cutoverMs + 90 * dayMs } },
  });
  const classical = (await opened.makeKey('ed25519')).kid;
  const hybrid = (await opened.makeKey('ed25519+ml-dsa-65')).kid;
  opened.clock.nowMs = cutoverMs;
  const late = (await opened.makeKey('ed25519')).kid;
  clock.nowMs = cutoverMs + days * dayMs;
  const request = (
    mode: VerifyRequest['mode'],
    signed: readonly (readonly [string, keyof typeof halves])[],
  ): VerifyRequest => ({
    input: payloadBlake3,
    mode,
    signatures: signed.map(([kid, half]) => ({ kid, alg: undefined, signature: halves[half] })),
    window: undefined,
  });
  const { verify, sign } = opened.operations;
  return {
    ...{ classical, hybrid, late },
    verdict: async (mode: VerifyRequest['mode'], ...signed: Parameters<typeof request>[1]) => {
      const asked = request(mode, signed);
      const planned = await verify.plan(asked, acme);
      if (!planned.ok) return planned.failure.countedAs;
      const { work, answer } = await planOf(verify, asked);
      const { ok, satisfiedMode } = unwrap(answer(batchStatuses.ok));
      const results = work.items.map(() => ({ status: batchStatuses.ok, outputs: [], elapsedNs: 1 }));
      const recorded = work.uses.every((use) => work.verdict?.(use, results) === 'ok');
      assert.equal(recorded, ok, 'the records say what the answer says');
      return `${ok} ${satisfiedMode}`;
    },
    signs: async (kid: string) =>
      codeOf(
        await sign.plan(
          {
            ...{ kids: [kid], input: payloadBlake3, alg: undefined, mode: undefined },
            ...{ opId: undefined, receipts: false },
          },
          acme,
        ),
      ),
  };
}

for (const phase of ['and', 'pq_only'] as const) {
  test(`phase ${phase}: a classical key of before the cut-over verifies alone until its grace ends`, async (t) => {
    for (const [days, expected] of [
      [0, 'true and'],
      [89.9, 'true and'],
      [90, 'pq_policy'],
    ] as const) {
      const { classical, verdict } = await afterCutover(t, phase, days);
      assert.equal(await verdict(undefined, [classical, 'classical']), expected, `${days}`);
    }
  });

  test(`phase ${phase}: no grace for newer keys, for half a hybrid key, for signing, and for a mode that is asked for`, async (t) => {
    const { classical, hybrid, late, verdict, signs } = await afterCutover(t, phase, 1);
    assert.equal(await verdict(undefined, [late, 'classical']), 'pq_policy');
    assert.equal(await verdict(undefined, [classical, 'classical'], [late, 'classical']), 'pq_policy');
    assert.equal(await verdict(undefined, [hybrid, 'classical']), 'pq_policy');
    assert.equal(await verdict('pq_only', [classical, 'classical']), 'false and');
    assert.equal(await signs(classical), 'PolicyViolation');
    assert.equal(await signs(hybrid), 'ok');
  });

  test(`phase ${phase}: a key in its grace stands beside whole keys, and lends its half to none`, async (t) => {
    const { classical, hybrid, verdict } = await afterCutover(t, phase, 1);
    const whole = [
      [hybrid, 'classical'],
      [hybrid, 'postQuantum'],
    ] as const;
    assert.equal(await verdict(undefined, ...whole, [classical, 'classical']), 'true and');
    const half = await verdict(undefined, [hybrid, 'postQuantum'], [classical, 'classical']);
    assert.equal(half, phase === 'and' ? 'pq_policy' : 'true or');
  });
}

test('within the tolerance a time of validity holds, and beyond it is a skew, to the millisecond', (t) => {
  const toleranceMs = fc.integer({ min: 0, max: 300_000 });
  const skewMs = fc.oneof(fc.integer({ min: -600_000, max: 600_000 }), fc.constantFrom(-1, 0, 1));
  const clock = new SetClock();
  const at = (ms: number) => ({ notBeforeMs: undefined, notAfterMs: undefined, ms });
  return fc.assert(
    fc.asyncProperty(toleranceMs, skewMs, fc.boolean(), async (timeSkewToleranceMs, skew, before) => {
      const { operations, makeKey } = openOperations(t, { clock, timeSkewToleranceMs });
      const { kid } = await makeKey('ed25519');
      const edgeMs = clock.nowMs + (before ? timeSkewToleranceMs : -timeSkewToleranceMs) + skew;
      const { ms: _, ...open } = at(edgeMs);
      const planned = await operations.verify.plan(
        {
          ...{ input: payloadBlake3, mode: undefined },
          signatures: [{ kid, alg: undefined, signature: halves.classical }],
          window: { ...open, ...(before ? { notBeforeMs: edgeMs } : { notAfterMs: edgeMs }) },
        },
        acme,
      );
      const holds = before ? skew <= 0 : skew >= 0;
      assert.equal(codeOf(planned), holds ? 'ok' : 'ClockSkew');
      if (!planned.ok) assert.equal(planned.failure.countedAs, 'clock_skew');
    }),
    { numRuns: 60 },
  );
});

test('times of RFC 3339 are read to the millisecond, with their offset, and nothing else is', () => {
  const moment = fc.date({ min: new Date(0), max: new Date('9999-12-30'), noInvalidDate: true });
  fc.assert(
    fc.property(moment, fc.integer({ min: -1_439, max: 1_439 }), (date, offset) => {
      const local = new Date(date.getTime() + offset * 60_000).toISOString().slice(0, -1);
      const two = (n: number) => String(n).padStart(2, '0');
      const text = `${local}${offset < 0 ? '-' : '+'}${two(Math.trunc(Math.abs(offset) / 60))}:${two(Math.abs(offset) % 60)}`;
      fc.pre(!local.startsWith('-') && !local.startsWith('+'));
      assert.equal(parseRfc3339(text), date.getTime(), text);
    }),
  );
  assert.equal(parseRfc3339('2026-11-28t01:02:03.123456789z'), Date.UTC(2026, 10, 28, 1, 2, 3, 123));
  for (const text of [
    ...['', '2026-11-28', '2026-11-28T01:02Z', '2026-11-28T01:02:03', '2026-11-28 01:02:03Z'],
    ...['2026-02-29T00:00:00Z', '2026-13-01T00:00:00Z', '2026-11-28T24:00:00Z', '2026-11-28T23:59:60Z'],
    ...[
      '2026-11-28T01:02:03+24:00',
      '2026-11-28T01:02:03.Z',
      ' 2026-11-28T01:02:03Z',
      '2026-11-28T01:02:03Zz',
    ],
  ])
    assert.equal(parseRfc3339(text), undefined, text);
});

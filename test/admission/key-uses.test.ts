import assert from 'node:assert/strict';
import { test } from 'node:test';
import { KeyUses, type LimitedWork } from '../../src/admission/key-uses.ts';
import { MemoryStore } from '../../src/store/memory/memory-store.ts';
import { countsIn } from '../support/counts.ts';

const dayMs = 86_400_000;

function limitedTo(perDay: number) {
  const clock = { nowMs: 20_000 * dayMs + 1, monotonicMs: () => 0, utcMs: () => clock.nowMs };
  const counts = countsIn(new MemoryStore());
  return { clock, counts, uses: new KeyUses({ counts, clock, perDay }) };
}

const work = (...keyIds: string[]): LimitedWork => ({ uses: keyIds.map((keyId) => ({ keyId })) });

test('a key has a usage limit of its own, which ends with the day of UTC', async () => {
  const { clock, uses } = limitedTo(2);
  assert.equal(await uses.take(work('a')), undefined);
  assert.equal(await uses.take(work('a')), undefined);
  const refused = await uses.take(work('a'));
  assert.equal(refused?.failure.code, 'RateLimited');
  assert.equal(refused?.failure.retryAfterMs, dayMs - 1, 'until midnight');
  assert.equal(await uses.take(work('b')), undefined, 'another key');
  clock.nowMs += dayMs - 2;
  assert.equal((await uses.take(work('a')))?.failure.retryAfterMs, 1);
  clock.nowMs += 1;
  assert.equal(await uses.take(work('a')), undefined, 'the next day');
});

test('of several keys that sign together either all are counted or none', async () => {
  const { uses } = limitedTo(1);
  assert.equal(await uses.take(work('b')), undefined);
  assert.equal((await uses.take(work('a', 'b')))?.failure.code, 'RateLimited');
  const a = work('a');
  assert.equal(await uses.take(a), undefined, 'the first key was not used');
  uses.giveBack(a);
  uses.giveBack(a);
  assert.equal(await uses.take(work('a')), undefined, 'what was not begun is not counted');
  assert.equal((await uses.take(work('a')))?.failure.code, 'RateLimited', 'and given back once');
});

test('a limit of policy holds beside that of the service, and both count the same uses', async () => {
  const { uses } = limitedTo(3);
  const one = () => 1;
  assert.equal(await uses.take(work('a'), one), undefined);
  assert.equal((await uses.take(work('a'), one))?.failure.code, 'RateLimited');
  assert.equal(await uses.take(work('a')), undefined);
  assert.equal(await uses.take(work('a'), () => 100), undefined);
  assert.equal((await uses.take(work('a'), () => 100))?.failure.code, 'RateLimited');
});

test('without a limit nothing is counted, and no promise is made', () => {
  const { uses, counts } = limitedTo(Number.POSITIVE_INFINITY);
  assert.equal(uses.take(work('a')), undefined);
  assert.equal(
    uses.take(work('a'), () => Number.POSITIVE_INFINITY),
    undefined,
  );
  assert.equal(counts.known('day/a'), undefined);
});

test('a version encrypts as often as it may and no more, and what was not begun stays counted', async () => {
  const { uses } = limitedTo(Number.POSITIVE_INFINITY);
  const encrypting = (): LimitedWork => ({ ...work('a'), encryption: { kid: 'a#v1', most: 2 } });
  const first = encrypting();
  assert.equal(await uses.take(first), undefined);
  uses.giveBack(first);
  assert.equal(await uses.take(encrypting()), undefined);
  const refused = await uses.take(encrypting());
  assert.equal(refused?.failure.code, 'Conflict');
  assert.match(refused?.failure.hint ?? '', /^rotate/);
});

test('an encryption that is refused uses up nothing of the day', async () => {
  const { uses } = limitedTo(2);
  const encrypting = (): LimitedWork => ({ ...work('a'), encryption: { kid: 'a#v1', most: 1 } });
  assert.equal(await uses.take(encrypting()), undefined);
  for (let n = 0; n < 5; n++) assert.equal((await uses.take(encrypting()))?.failure.code, 'Conflict');
  assert.equal(await uses.take(work('a')), undefined);
});

test('what is made with a key has a limit of its own, which no other use counts towards', async () => {
  const { clock, uses } = limitedTo(Number.POSITIVE_INFINITY);
  const making = (): LimitedWork => ({ ...work('a'), daily: { keyId: 'a', most: 2 } });
  assert.equal(await uses.take(making()), undefined);
  for (let n = 0; n < 5; n++) assert.equal(await uses.take(work('a')), undefined, 'is not limited');
  const second = making();
  assert.equal(await uses.take(second), undefined);
  const refused = await uses.take(making());
  assert.equal(refused?.failure.code, 'RateLimited');
  assert.equal(refused?.failure.retryAfterMs, dayMs - 1, 'until midnight');
  uses.giveBack(second);
  assert.equal(await uses.take(making()), undefined, 'what was not begun is not counted');
  clock.nowMs += dayMs;
  assert.equal(await uses.take(making()), undefined, 'the next day');
});

test('both limits of a key hold', async () => {
  const { uses } = limitedTo(3);
  const making = (): LimitedWork => ({ ...work('a'), daily: { keyId: 'a', most: 2 } });
  assert.equal(await uses.take(making()), undefined);
  assert.equal(await uses.take(making()), undefined);
  assert.equal((await uses.take(making()))?.failure.code, 'RateLimited');
  assert.equal(await uses.take(work('a')), undefined);
  assert.equal((await uses.take(work('a')))?.failure.code, 'RateLimited');
});

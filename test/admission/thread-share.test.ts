import assert from 'node:assert/strict';
import test from 'node:test';
import {
  defaultThreadShare,
  ThreadShare,
  type ThreadShareParts,
} from '../../src/admission/flood-guard/thread-share.ts';

/** Reads calls one after the other; `turn` ends the turn of the event loop. */
function thread(parts: Partial<ThreadShareParts> = {}) {
  let endTurn = () => {};
  let nowMs = 1_000;
  const share = new ThreadShare(defaultThreadShare, {
    clock: { monotonicMs: () => nowMs },
    atTurnEnd: (ended) => {
      endTurn = ended;
    },
    ...parts,
  });
  return {
    share,
    now: () => nowMs,
    turn(afterMs = 0) {
      endTurn();
      endTurn = () => {};
      nowMs += afterMs;
    },
    /** How many of the calls are to go on later; each takes so long to read. */
    read(tenant: string, calls = 1, eachMs = 0.01): number {
      let later = 0;
      for (let n = 0; n < calls; n++) {
        if (share.spent(tenant, nowMs)) later++;
        nowMs += eachMs;
      }
      return later;
    },
  };
}

test('a tenant that is alone is never over its share, however long the turn', () => {
  const { read, share } = thread();
  assert.equal(read('flood', 10_000), 0);
  assert.equal(share.isOver('flood'), false);
});

test('beside another, a flood is put off once the turn is long, and the other never is', () => {
  const { read, turn } = thread();
  assert.equal(read('victim', 5), 0);
  const later = read('flood', 1_500);
  assert.ok(later > 500, `${later} put off`);
  assert.equal(read('victim', 5), 0);
  turn();
  assert.equal(read('flood', 20), 0, 'a new turn begins with room for everybody');
  assert.equal(read('victim', 5), 0);
});

test('shares are of time: who sends a few dear calls floods, and who sends many cheap ones beside them does not', () => {
  const { read, share, turn } = thread();
  for (let n = 0; n < 6; n++) {
    read('dear', 1, 5);
    read('cheap', 60, 0.01);
    for (const small of ['a', 'b', 'c']) read(small);
    turn();
  }
  assert.equal(share.isOver('dear'), true);
  assert.equal(share.isOver('cheap'), false);
});

test('the last call of a turn is charged as well', () => {
  const { read, share, turn } = thread();
  for (let n = 0; n < 10; n++) {
    read('small');
    read('last', 1, 2);
    turn();
  }
  assert.equal(share.isOver('last'), true);
});

test('tenants that ask for the same are all served at once, whatever the turn takes', () => {
  const { read } = thread();
  for (let n = 0; n < 1_000; n++) {
    for (const tenant of ['a', 'b', 'c']) assert.equal(read(tenant), 0, `${tenant} ${n}`);
  }
});

test('a burst of little work is no flood, even where others have less', () => {
  const { read, share } = thread();
  read('quiet');
  assert.equal(read('busy', 150), 0);
  assert.equal(share.isOver('busy'), false);
});

test('shares follow weights', () => {
  const { read, share } = thread({ weightOf: (tenant) => (tenant === 'heavy' ? 9 : 1) });
  for (let n = 0; n < 100; n++) {
    read('heavy', 9);
    read('light', 1);
  }
  assert.equal(share.isOver('heavy'), false);
  assert.equal(share.isOver('light'), false);
  read('light', 1_000);
  assert.equal(share.isOver('light'), true);
});

test('those who are counted together have one share', () => {
  const { read, share } = thread({ queueOf: () => 'everybody' });
  read('victim');
  assert.equal(read('flood', 1_500), 0);
  assert.equal(share.isOver('flood'), false);
});

test('after a pause a flood is forgotten', () => {
  const { read, share, turn } = thread();
  read('victim');
  read('flood', 1_500);
  turn(50);
  read('flood');
  assert.equal(share.isOver('flood'), true, 'the last window still counts');
  turn(200);
  read('victim');
  assert.equal(share.isOver('flood'), false);
});

test('a clock that goes back puts nobody off and charges nobody', () => {
  let nowMs = 1_000;
  const share = new ThreadShare(defaultThreadShare, {
    clock: { monotonicMs: () => nowMs },
    atTurnEnd: () => {},
  });
  share.spent('victim', nowMs);
  nowMs = 500;
  for (let n = 0; n < 1_000; n++) assert.equal(share.spent('flood', nowMs), false);
  assert.equal(share.isOver('flood'), false);
});

test('turns that are long for a while are cut short for whoever has its share, also where it is alone', () => {
  const { read, share, turn, now } = thread();
  const refused = () => share.stands('flood', now());
  for (let n = 0; n < 7; n++) {
    read('flood', 1_100);
    assert.equal(refused(), false, 'a burst may be read whole');
    turn(5);
  }
  read('flood', 150);
  assert.equal(refused(), false, 'a turn begins with room');
  read('flood', 150);
  assert.equal(refused(), true);
  read('small', 2);
  assert.equal(share.stands('small', now()), false, 'and who keeps to its share always has it');
  turn(5);
  for (let n = 0; n < 300; n++) {
    read('flood', 10);
    turn(5);
  }
  read('flood', 1_000);
  assert.equal(refused(), false, 'a second after the last refusal the next one is a burst again');
});

test('long turns of a thread that has time in between are no overload', () => {
  let use = 0.5;
  const { read, share, turn, now } = thread({ utilization: () => use });
  for (let n = 0; n < 12; n++) {
    read('large', 2, 5);
    turn(20);
  }
  read('large', 2, 5);
  assert.equal(share.stands('large', now()), false);
  use = 0.95;
  for (let n = 0; n < 4; n++) {
    turn(20);
    read('large', 2, 5);
  }
  assert.equal(share.stands('large', now()), true);
});

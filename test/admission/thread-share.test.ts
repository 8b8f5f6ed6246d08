import assert from 'node:assert/strict';
import test from 'node:test';
import { ThreadShare, type ThreadShareParts } from '../../src/admission/thread-share.ts';

const options = { turnMs: 1, windowMs: 50, tolerance: 1.5, allowance: 10 };

/** Calls one after the other, 0.01 ms apart; `turn` ends the turn of the event loop. */
function thread(parts: Partial<ThreadShareParts> = {}) {
  let endTurn = () => {};
  let nowMs = 1_000;
  const share = new ThreadShare(options, {
    atTurnEnd: (ended) => {
      endTurn = ended;
    },
    ...parts,
  });
  return {
    share,
    turn(afterMs = 0) {
      endTurn();
      nowMs += afterMs;
    },
    /** How many of the calls were refused. */
    read(tenant: string, calls = 1): number {
      let refused = 0;
      for (let n = 0; n < calls; n++) {
        if (share.spent(tenant, nowMs)) refused++;
        nowMs += 0.01;
      }
      return refused;
    },
  };
}

test('a tenant that is alone is never over its share, however long the turn', () => {
  const { read, share } = thread();
  assert.equal(read('flood', 10_000), 0);
  assert.equal(share.isOver('flood'), false);
});

test('beside another, a flood is refused once the turn is long, and the other never is', () => {
  const { read, turn } = thread();
  assert.equal(read('victim'), 0);
  const refused = read('flood', 1_000);
  assert.ok(refused > 850 && refused < 950, `${refused} refused`);
  assert.equal(read('victim', 20), 0);
  turn();
  assert.equal(read('flood', 90), 0, 'a new turn begins with room for everybody');
  assert.equal(read('victim', 20), 0);
});

test('tenants that ask for the same are all served, whatever the turn takes', () => {
  const { read } = thread();
  for (let n = 0; n < 1_000; n++) {
    for (const tenant of ['a', 'b', 'c']) assert.equal(read(tenant), 0, `${tenant} ${n}`);
  }
});

test('few calls are no flood, even where others have fewer', () => {
  const { read, share } = thread();
  read('quiet');
  assert.equal(read('busy', 11), 0);
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
  read('light', 500);
  assert.equal(share.isOver('light'), true);
});

test('those who are counted together have one share', () => {
  const { read, share } = thread({ queueOf: () => 'everybody' });
  read('victim');
  assert.equal(read('flood', 1_000), 0);
  assert.equal(share.isOver('flood'), false);
});

test('what was long ago does not count: after a pause a flood is forgotten, and so is who was there beside it', () => {
  const { read, share, turn } = thread();
  read('victim');
  read('flood', 1_000);
  assert.equal(share.isOver('flood'), true);
  turn(50);
  read('flood', 1);
  assert.equal(share.isOver('flood'), true, 'the last window still counts');
  turn(200);
  read('victim');
  assert.equal(share.isOver('flood'), false);
});

test('a clock that goes back refuses nobody, and the shares go on when it is back', () => {
  let endTurn = () => {};
  const share = new ThreadShare(options, {
    atTurnEnd: (ended) => {
      endTurn = ended;
    },
  });
  share.spent('victim', 1_000);
  for (let n = 0; n < 100; n++) assert.equal(share.spent('flood', 500), false);
  endTurn();
  share.spent('victim', 1_000);
  assert.equal(share.spent('flood', 1_002), true);
});

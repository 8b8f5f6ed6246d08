import assert from 'node:assert/strict';
import test, { type TestContext } from 'node:test';
import { proverOf } from '../../src/assemble/attestation.ts';
import { systemFiles } from '../../src/audit/disk/files.ts';
import { followTransitions, parseTransition } from '../../src/audit/disk/key-transition.ts';
import { openCheckpoint } from '../../src/audit/format/checkpoint.ts';
import { type NoteKey, parseVkey } from '../../src/audit/format/note.ts';
import { createReadAnswerer } from '../../src/audit/reading/answer-reads.ts';
import { openLogReader } from '../../src/audit/reading/log-reader.ts';
import {
  type AttestationKeyChange,
  KeyRotation,
  type RotatingKeys,
} from '../../src/audit/service/key-rotation.ts';
import { ok, refuse } from '../../src/core/result.ts';
import { temporaryDirectory } from '../support/temporary-directory.ts';
import { appendMany, type Machine, machine, origin, type RunningLog, startLog } from './support/log.ts';
import { seededSigner } from './support/signers.ts';

/** A store of generations that outlives the process that works with it, and fails where it is told to. */
interface StoredGenerations {
  generation: number;
  change: AttestationKeyChange | undefined;
  failing: 'begin' | 'announced' | 'finish' | undefined;
}

function keysOf(stored: StoredGenerations): RotatingKeys {
  const signers = (name: string, generation: number) => [
    seededSigner('ed25519', name, `generation ${generation}`),
    seededSigner('mlDsa44', name, `generation ${generation}`),
  ];
  const step = async (name: StoredGenerations['failing'], act: () => void) => {
    if (stored.failing === name) return refuse('StoreUnavailable');
    act();
    return ok(undefined);
  };
  return {
    current: (name) => signers(name, stored.generation),
    next: (name) => (stored.change === undefined ? [] : signers(name, stored.generation + 1)),
    change: () => stored.change,
    begin: (actor) =>
      step('begin', () => {
        stored.change = { actor, announced: undefined };
      }),
    announced: (announced) =>
      step('announced', () => {
        stored.change = { actor: stored.change?.actor ?? '', announced };
      }),
    finish: () =>
      step('finish', () => {
        stored.generation++;
        stored.change = undefined;
      }),
  };
}

interface Running extends RunningLog {
  readonly rotation: KeyRotation;
  readonly told: string[];
}

/** One process: a log whose checkpoints the stored generations sign. */
async function start(
  on: Machine,
  directory: string,
  stored: StoredGenerations,
  overlapMs = 0,
): Promise<Running> {
  const told: string[] = [];
  const answer = createReadAnswerer();
  const rotation: KeyRotation = new KeyRotation({
    keys: keysOf(stored),
    log: () => running.log,
    prove: proverOf({
      ask: async (question) => ok(answer(running.log.directory, question)),
      epoch: () => 1,
      close: async () => {},
    }),
    clock: { monotonicMs: () => performance.now(), utcMs: () => Date.now() },
    overlapMs,
    tickMs: 10,
    report: (_, detail) => told.push(detail),
  });
  const running: RunningLog = await startLog(on, {
    directory,
    options: { checkpointMinIntervalMs: 1 },
    parts: { checkpointKeys: async (name) => ({ signers: rotation.signers(name) }) },
  });
  return { ...running, rotation, told };
}

function generations(): StoredGenerations {
  return { generation: 1, change: undefined, failing: undefined };
}

function vkeysOf(generation: number, name = origin): NoteKey[] {
  return (['ed25519', 'mlDsa44'] as const).map((type) => {
    const key = parseVkey(seededSigner(type, name, `generation ${generation}`).vkey);
    assert.ok(key.ok);
    return key.value;
  });
}

async function until(holds: () => boolean): Promise<void> {
  for (let waits = 0; !holds(); waits++) {
    if (waits > 2_000) throw new Error('it does not come');
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

function signedBy({ log }: RunningLog, generation: number): boolean {
  const note = log.checkpoint()?.note ?? '';
  return openCheckpoint(Buffer.from(note), origin, vkeysOf(generation)).ok;
}

function follow(directory: string, trusted: readonly NoteKey[]) {
  const reader = openLogReader(`${directory}/audit`);
  return followTransitions((path) => reader.read(path), trusted);
}

async function place(context: TestContext) {
  return { directory: temporaryDirectory(context), on: machine(systemFiles), stored: generations() };
}

test('new keys: announced under the old ones, then both sign, then the new ones alone', async (context) => {
  const { directory, on, stored } = await place(context);
  const running = await start(on, directory, stored, 60_000);
  const { log, rotation } = running;
  await appendMany(log, 5);
  const rotated = await rotation.rotate('operator');
  assert.ok(rotated.ok);
  assert.deepEqual(
    rotated.value.vkeys,
    vkeysOf(2).map(({ vkey }) => vkey),
  );
  assert.deepEqual(
    rotated.value.replaced?.vkeys,
    vkeysOf(1).map(({ vkey }) => vkey),
  );
  assert.ok(signedBy(running, 1) && signedBy(running, 2), 'both sign when the answer comes');
  const again = await rotation.rotate('operator');
  assert.ok(!again.ok && again.failure.code === 'Conflict', 'one rotation after the other');

  const { announced } = stored.change ?? {};
  assert.ok(announced);
  stored.change = { actor: 'operator', announced: { ...announced, overlapEndsAtMs: Date.now() - 1 } };
  rotation.start();
  await until(() => stored.generation === 2);
  await appendMany(log, 1);
  await log.close();
  assert.ok(!signedBy(running, 1) && signedBy(running, 2));
  await rotation.close();

  const followed = follow(directory, vkeysOf(1));
  assert.ok(followed.ok);
  assert.deepEqual(
    followed.value.transitions.map(({ newKey }) => newKey.vkey),
    vkeysOf(2).map(({ vkey }) => vkey),
  );
  const note = openLogReader(`${directory}/audit`).checkpoint()?.note ?? Buffer.alloc(0);
  assert.ok(!openCheckpoint(note, origin, vkeysOf(1)).ok, 'the old keys have not signed the newest one');
  assert.ok(openCheckpoint(note, origin, followed.value.keys).ok);
  const types = [...openLogReader(`${directory}/audit`).records()].map(({ record }) => record.type);
  assert.deepEqual(
    types.filter((type) => type?.startsWith('attkey.')),
    [
      ...['attkey.transition', 'attkey.transition', 'attkey.overlap'],
      ...['attkey.destroy', 'attkey.destroy'],
    ],
  );
});

test('three generations are followed from the first one, and from any later one', async (context) => {
  const { directory, on, stored } = await place(context);
  const { log, rotation } = await start(on, directory, stored);
  rotation.start();
  for (const generation of [2, 3, 4]) {
    assert.ok((await rotation.rotate('operator')).ok);
    await until(() => stored.generation === generation);
  }
  await rotation.close();
  await log.close();
  for (const [from, steps] of [
    [1, 6],
    [2, 4],
    [4, 0],
  ] as const) {
    const followed = follow(directory, vkeysOf(from));
    assert.ok(followed.ok);
    assert.equal(followed.value.transitions.length, steps);
    const newest = openLogReader(`${directory}/audit`).checkpoint()?.note ?? Buffer.alloc(0);
    assert.ok(openCheckpoint(newest, origin, followed.value.keys).ok, `from ${from}`);
  }
  const stranger = follow(directory, vkeysOf(9));
  assert.ok(stranger.ok && stranger.value.transitions.length === 0, 'who trusts none of them trusts none');
});

test('killed at any step, the log starts again and the change goes on by itself', async (context) => {
  for (const step of ['before', 'begin', 'announced', 'overlap', 'finish'] as const) {
    const { directory, on, stored } = await place(context);
    const first = await start(on, directory, stored);
    await appendMany(first.log, 3);
    if (step === 'before') {
      stored.change = { actor: 'operator', announced: undefined };
    } else {
      stored.failing = step === 'overlap' ? undefined : step;
      const rotated = await first.rotation.rotate('operator');
      assert.equal(rotated.ok, step === 'overlap' || step === 'finish', step);
      if (step === 'finish') {
        first.rotation.start();
        // Boot, three uses, two transitions, the overlap, and the two destructions that cannot be stored.
        await until(() => first.log.stats().size === 9);
        await first.rotation.close();
      }
    }
    stored.failing = undefined;
    first.kill();

    const second = await start(on, directory, stored);
    assert.equal(second.log.state, 'ready', `${step}: ${second.log.reason}`);
    await appendMany(second.log, 3);
    if (step === 'begin') assert.ok((await second.rotation.rotate('operator')).ok, 'nothing was begun');
    second.rotation.start();
    await until(() => stored.generation === 2);
    await second.rotation.close();
    second.kill();

    const third = await start(on, directory, stored);
    assert.equal(third.log.state, 'ready', `${step}: ${third.log.reason}`);
    assert.ok(!signedBy(third, 1) && signedBy(third, 2), step);
    await third.log.close();
    const followed = follow(directory, vkeysOf(1));
    assert.ok(followed.ok, step);
    assert.deepEqual(
      followed.value.keys.slice(2).map(({ vkey }) => vkey),
      vkeysOf(2).map(({ vkey }) => vkey),
      step,
    );
  }
});

test('a log that takes no records announces nothing, and one that fails on the way announces once', async (context) => {
  const { directory, on, stored } = await place(context);
  const { log, rotation, told } = await start(on, directory, stored);
  stored.failing = 'announced';
  for (let attempt = 0; attempt < 3; attempt++) assert.ok(!(await rotation.rotate('operator')).ok);
  stored.failing = undefined;
  assert.ok((await rotation.rotate('operator')).ok);
  const announced = [...openLogReader(`${directory}/audit`).records()].filter(
    ({ record }) => record.type === 'attkey.transition',
  );
  assert.equal(announced.length, 2);
  assert.equal(told.length, 1);
  log.contradicted('witness.example/w1 has cosigned 70000 records');
  await until(() => log.state === 'integrity_failed');
  const refused = await rotation.rotate('operator');
  assert.ok(!refused.ok && refused.failure.code === 'AuditUnavailable');
  await log.close();
});

test('a new epoch in the middle of a change hears of the new keys too', async (context) => {
  const { directory, on, stored } = await place(context);
  const running = await start(on, directory, stored, 60_000);
  const { log, rotation } = running;
  assert.ok((await rotation.rotate('operator')).ok);
  log.contradicted('witness.example/w1 has cosigned 70000 records');
  await until(() => log.state === 'integrity_failed');
  assert.ok((await log.accept({ reason: 'drill', approvers: ['ada', 'grace'] })).ok);
  rotation.start();
  await until(() => stored.change?.announced?.origin === `${origin}/e2`);
  await rotation.close();
  await log.close();
  const followed = follow(directory, vkeysOf(1, `${origin}/e2`));
  assert.ok(followed.ok && followed.value.transitions.length === 2);
});

test('a transition is a record of the log itself, from one key to another of its name and type', async () => {
  const [ed25519, mlDsa44] = vkeysOf(1) as [NoteKey, NoteKey];
  const [next] = vkeysOf(2) as [NoteKey, NoteKey];
  const record = (over: object, data: object) => {
    const whole = {
      ...{ actor: 'operator', alg: 'none', input_hash: 'none', key_id: 'audit', key_version: 0 },
      ...{
        op_id: 'op',
        purpose: 'log',
        result: 'ok',
        seq: 1,
        tenant: '',
        ts: 1,
        type: 'attkey.transition',
        v: 1,
      },
      data: { new_vkey: next.vkey, not_before: 1_763_769_600, old_vkey: ed25519.vkey, ...data },
      ...over,
    };
    return Buffer.from(JSON.stringify(whole, inOrder(whole)));
  };
  assert.equal(parseTransition(record({}, {}))?.newKey.vkey, next.vkey);
  for (const [what, entry] of [
    ['of a tenant', record({ tenant: 'acme' }, {})],
    ['of a key of the service', record({ key_id: 'acme/tls/ed25519/0192f7c1' }, {})],
    ['of another type', record({ type: 'key.rotate' }, {})],
    ['to a weaker type', record({}, { old_vkey: mlDsa44.vkey })],
    ['to another name', record({}, { new_vkey: (vkeysOf(2, 'kms.example/other')[0] as NoteKey).vkey })],
    ['to no key', record({}, { new_vkey: 'kms.example' })],
  ] as const) {
    assert.equal(parseTransition(entry), undefined, what);
  }
});

/** All member names, sorted: RFC 8785 for what these records hold. */
function inOrder(record: { data: object }): string[] {
  return [...Object.keys(record), ...Object.keys(record.data)].sort();
}

test('a proof that somebody altered is refused, not passed over', async (context) => {
  const { directory, on, stored } = await place(context);
  const { log, rotation } = await start(on, directory, stored);
  assert.ok((await rotation.rotate('operator')).ok);
  await log.close();
  const reader = openLogReader(`${directory}/audit`);
  for (const path of ['keys/0.tlog-proof', 'keys/1.tlog-proof', 'keys/1.json']) {
    const altered = (asked: string) => {
      const bytes = reader.read(asked);
      if (asked !== path || bytes === undefined) return bytes;
      const copy = Buffer.from(bytes);
      copy[copy.length - 20] = copy[copy.length - 20] === 0x41 ? 0x42 : 0x41;
      return copy;
    };
    assert.ok(!followTransitions(altered, vkeysOf(1)).ok, path);
  }
});

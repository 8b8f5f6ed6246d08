import assert from 'node:assert/strict';
import test, { after, before, describe } from 'node:test';
import { type AnchorFailure, TpmAnchor, tpmAnchorEntry } from '../../src/custody/tpm/anchor.ts';
import { byHandle, type TpmClient } from '../../src/custody/tpm/client.ts';
import { TpmDevice } from '../../src/custody/tpm/device.ts';
import { commands, handles, nvAttributes, tpmAlgorithms } from '../../src/custody/tpm/numbers.ts';
import {
  defineCounter,
  incrementCounter,
  readCounter,
  undefineCounter,
} from '../../src/custody/tpm/nv-counter.ts';
import { emptyPassword } from '../../src/custody/tpm/session.ts';
import { Writer } from '../../src/custody/tpm/wire.ts';
import { MemoryStore } from '../../src/store/memory/memory-store.ts';
import type { Store } from '../../src/store/store.ts';
import { createSwtpm, noSwtpm, type Swtpm, tap } from '../support/swtpm.ts';

describe('the counter in a TPM that a store is held against', { skip: noSwtpm }, () => {
  let tpm: Swtpm;
  let nextIndex = 0x0180_0100;
  before(async () => {
    tpm = await createSwtpm();
  });
  after(() => tpm.remove());

  /** A service over this store starts, does something and ends; `accepts` as an operator did before. */
  function bench(of = tpm) {
    const index = nextIndex++;
    const store: Store = new MemoryStore();
    const problems: (string | undefined)[] = [];
    const open = async (accepts?: string, by = of, at = index) => {
      const device = new TpmDevice({ socket: by.socket });
      const refused = new Error('refused') as Error & { failure?: AnchorFailure };
      try {
        const anchor = await TpmAnchor.open({
          ...{ device, index: at, store, report: (problem) => problems.push(problem) },
          accept(failure) {
            if (failure.id !== accepts) throw Object.assign(refused, { failure });
          },
        });
        return { anchor, device, close: () => anchor.close().then(() => device.close()) };
      } catch (cause) {
        await device.close();
        throw cause;
      }
    };
    const change = () => store.commit([{ key: 'k/1', value: Buffer.from('x') }]);
    const recorded = async () => {
      const found = await store.get(tpmAnchorEntry);
      assert.ok(found.ok && found.value !== undefined);
      return JSON.parse(Buffer.from(found.value.value).toString());
    };
    const put = (record: object | undefined) =>
      store.commit([{ key: tpmAnchorEntry, value: record && Buffer.from(JSON.stringify(record)) }]);
    /** `by`: a connection that is open; swtpm takes one at a time. */
    const counted = async (by: Pick<Swtpm, 'use'> = of) => {
      const { parent, auth } = await recorded();
      const place = { index, parent, auth: Buffer.from(auth, 'hex') };
      return (await by.use((client) => readCounter(client, place))).value;
    };
    /** What it was refused for. */
    const failing = async (by = of, at = index): Promise<AnchorFailure> => {
      const refused = await open(undefined, by, at).then(
        async (opened) => opened.close().then(() => assert.fail('it was not refused')),
        (cause: { failure?: AnchorFailure }) => cause,
      );
      assert.ok(refused.failure !== undefined, String(refused));
      return refused.failure;
    };
    return { store, open, change, recorded, put, counted, failing, problems, index };
  }

  test('it counts once for whatever changed, and not where nothing did', async () => {
    const { open, change, counted, recorded } = bench();
    const first = await open();
    const begun = (await recorded()).value;
    await first.anchor.count();
    await change();
    await change();
    await first.close();
    assert.deepEqual([await counted(), (await recorded()).value], [begun + 1, begun + 1]);
    await (await open()).close();
    assert.equal(await counted(), begun + 1);
  });

  test('it counts once a minute at most', async (t) => {
    t.mock.timers.enable({ apis: ['setInterval'] });
    const { open, change, recorded } = bench();
    const opened = await open();
    const begun = (await recorded()).value;
    for (let second = 0; second < 59; second++) {
      await change();
      t.mock.timers.tick(1_000);
    }
    assert.equal((await recorded()).value, begun);
    t.mock.timers.tick(1_000);
    await opened.close();
    assert.equal((await recorded()).value, begun + 1);
  });

  test('a store that was put back is refused until an operator accepts just that', async () => {
    const { open, change, recorded, put, counted, failing } = bench();
    await (await open()).close();
    const older = await recorded();
    const second = await open();
    await change();
    await second.close();
    await put(older);
    const { id, detail } = await failing();
    assert.match(detail, /it was put back: the TPM has counted to \d+, and it knows of \d+/);
    assert.equal((await failing()).id, id);
    await (await open(id)).close();
    assert.equal((await recorded()).value, await counted());
    await (await open()).close();
  });

  test('a crash between the store and the counter locks nobody out: the store is ahead by one, and the TPM follows', async () => {
    const { open, recorded, put, counted } = bench();
    await (await open()).close();
    const before = await recorded();
    await put({ ...before, value: before.value + 1 });
    await (await open()).close();
    assert.equal(await counted(), before.value + 1);
  });

  test('a counter that is behind, is gone or was never of this store is refused', async () => {
    const { open, recorded, put, failing, counted } = bench();
    await (await open()).close();
    const before = await recorded();
    await put({ ...before, value: before.value + 2 });
    assert.match((await failing()).detail, /the counter of the TPM went back/);
    const other = await createSwtpm();
    try {
      assert.match((await failing(other)).detail, /another TPM, or it was cleared/);
    } finally {
      await other.remove();
    }
    await put(undefined);
    const { id, detail } = await failing();
    assert.match(detail, /a counter that it does not know/);
    await (await open(id)).close();
    assert.ok((await counted()) > before.value);
  });

  test('a count that was changed on the wire is not believed', async () => {
    const { open, change, counted, recorded } = bench();
    const wire = await tap(tpm);
    const through = { ...tpm, socket: wire.socket };
    try {
      const opened = await open(undefined, through);
      const begun = (await recorded()).value;
      await change();
      // TPM2_NV_Read alone answers with so many bytes: its 8 are behind the header and two lengths.
      wire.change = (answer) => {
        if (answer.length === 93) answer[23] = (answer[23] as number) ^ 1;
        return answer;
      };
      await opened.anchor.count();
      assert.match(opened.anchor.problem ?? '', /is not of the TPM/);
      wire.change = (answer) => answer;
      await opened.close();
      assert.equal(await counted(), begun + 1);
    } finally {
      await wire.close();
    }
  });

  test('another index is taken where an operator accepts it, and nothing that is no counter is taken away', async () => {
    const { open, failing, recorded, index } = bench();
    await (await open()).close();
    const next = nextIndex++;
    const { id, detail } = await failing(tpm, next);
    assert.match(detail, /its counter is at 0x0180\d+, and KMS_TPM_COUNTER says 0x0180\d+/);
    await (await open(id, tpm, next)).close();
    assert.equal((await recorded()).index, next);
    assert.notEqual(index, next);

    const taken = nextIndex++;
    await tpm.use((client) => defineOther(client, taken));
    for (const each of [open, bench().open])
      await assert.rejects(
        each('whatever', tpm, taken),
        /another thing than our counter: take another index/,
      );
    assert.equal(await tpm.use((client) => isThere(client, taken)), true);
  });

  test('a count whose answer was lost is not the last one', async () => {
    const { open, change, counted, recorded } = bench();
    const wire = await tap(tpm);
    const through = { ...tpm, socket: wire.socket };
    try {
      const opened = await open(undefined, through);
      const begun = (await recorded()).value;
      await change();
      // TPM2_NV_Increment has no parameters in its answer: header, length, and the session's area.
      wire.change = (answer) => (answer.length === 83 ? Buffer.alloc(10, 0xff) : answer);
      await opened.anchor.count();
      assert.notEqual(opened.anchor.problem, undefined);
      assert.deepEqual([await counted(opened.device), (await recorded()).value], [begun + 1, begun + 1]);
      wire.change = (answer) => answer;
      for (let more = 2; more < 4; more++) {
        await change();
        await opened.anchor.count();
        assert.equal(opened.anchor.problem, undefined);
        assert.deepEqual(
          [await counted(opened.device), (await recorded()).value],
          [begun + more, begun + more],
        );
      }
      await opened.close();
    } finally {
      await wire.close();
    }
  });

  test('a counter that others count by or have replaced is said to be that while the service runs, and the next start is refused', async () => {
    const { open, change, recorded, failing, index } = bench();
    const opened = await open();
    const { parent, auth } = await recorded();
    const place = { index, parent, auth: Buffer.from(auth, 'hex') };
    await change();
    await opened.device.use((client) => incrementCounter(client, place));
    await opened.anchor.count();
    assert.match(opened.anchor.problem ?? '', /the counter .* is at \d+, and the store knows of \d+/);
    await opened.close();
    assert.match((await failing()).detail, /it was put back/);

    const other = bench();
    const second = await other.open();
    await other.change();
    const theirs = { index: other.index, parent: undefined, auth: Buffer.alloc(32, 1) };
    await second.device.use(async (client) => {
      await undefineCounter(client, theirs);
      await defineCounter(client, theirs);
    });
    await second.anchor.count();
    assert.match(second.anchor.problem ?? '', /another counter than ours/);
    await second.close();
    assert.match((await other.failing()).detail, /does not have its counter/);
  });

  test('without the TPM nothing starts; where it goes later that is said, and it counts on when it is back', async () => {
    const { open, change, problems, recorded, counted } = bench();
    const opened = await open();
    const begun = (await recorded()).value;
    await change();
    await tpm.stop();
    await opened.anchor.count();
    assert.notEqual(opened.anchor.problem, undefined);
    await assert.rejects(open(), /to go on without: KMS_TPM_COUNTER=none/);
    await tpm.start();
    await opened.anchor.count();
    await opened.close();
    assert.equal(problems.length, 2);
    assert.equal(problems[1], undefined);
    assert.equal(await counted(), begun + 1);
  });
});

const ownerCommand = { handles: [byHandle(handles.owner)], by: emptyPassword };

/** As other programs have it: 8 bytes that the owner writes. */
async function defineOther(client: TpmClient, index: number): Promise<void> {
  const info = new Writer()
    .u32(index)
    .u16(tpmAlgorithms.sha256)
    .u32(nvAttributes.ownerWrite | nvAttributes.ownerRead)
    .sized(Buffer.alloc(0))
    .u16(8);
  const parameters = new Writer().sized(Buffer.alloc(0)).sized(info.done()).done();
  await client.run({ ...ownerCommand, code: commands.nvDefineSpace, parameters });
}

function isThere(client: TpmClient, index: number): Promise<boolean> {
  const asked = { code: commands.nvReadPublic, handles: [byHandle(index)] };
  return client.run(asked).then(
    () => true,
    () => false,
  );
}

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import type { AddressInfo } from 'node:net';
import { createServer } from 'node:net';
import test, { after, before, describe } from 'node:test';
import { StartError } from '../../src/core/start-error.ts';
import { type CloudLimits, cloudLimits } from '../../src/custody/root-key/cloud/limits.ts';
import {
  type CloudSource,
  type CloudTarget,
  type CloudWrapping,
  createCloudWrapping,
} from '../../src/custody/root-key/cloud/wrapping.ts';
import { givenRootKey } from '../../src/custody/root-key/given.ts';
import { openRootKeyForStore } from '../../src/custody/root-key/open-for-store.ts';
import { type Reading, readSource } from '../../src/custody/root-key/read-source.ts';
import { nameOfBytes, renewAll } from '../../src/custody/root-key/renew-all.ts';
import type { RootKeySource } from '../../src/custody/root-key/source.ts';
import { readRootSources, writeRootSources } from '../../src/custody/root-key/sources-file.ts';
import { createOpensslEngine } from '../../src/engine/openssl/index.ts';
import { MemoryStore } from '../../src/store/memory/memory-store.ts';
import type { CloudKey, CloudServer, FakeServer, Fault } from '../support/cloud/server.ts';
import { temporaryDirectory } from '../support/temporary-directory.ts';

const engine = createOpensslEngine({ reseedIntervalOps: 1, keyCacheBytes: 1 });
const nameOf = (secret: Uint8Array) => nameOfBytes(engine, secret);

function wrappingBy(server: CloudServer, limits: CloudLimits = cloudLimits): CloudWrapping {
  const provider = async () => server.provider(limits) as never;
  return createCloudWrapping(nameOf, { aws: provider, gcp: provider, azure: provider }, limits);
}

function targetOf(key: CloudKey, secret: Uint8Array, other: Partial<CloudSource> = {}) {
  const of = { root: nameOf(secret), generation: 1, createdAtMs: 1, id: 'cloud' };
  return { ...of, ...key, ...other } as CloudTarget;
}

async function saidBy(does: Promise<unknown>): Promise<string> {
  const cause: unknown = await does.then(
    () => assert.fail('it was not refused'),
    (refusal) => refusal,
  );
  assert.ok(cause instanceof StartError, String(cause));
  return cause.message;
}

/** AWS says of a wrapping key that this identity cannot see that it is refused. */
const notIts =
  /does not open what the list has|what the list has must be of this key|gives another key than the one that the list names/;

/** The promises of every cloud KMS as a source of the root key, which real servers hold too. `lacksStates`: an emulator that uses disabled keys. */
export function cloudRootContract(
  name: string,
  start: () => Promise<CloudServer>,
  { lacksStates = false } = {},
): void {
  describe(`${name} as a source of the root key`, { concurrency: true }, () => {
    let server: CloudServer;
    let wrapping: CloudWrapping;
    before(async () => {
      server = await start();
      wrapping = wrappingBy(server);
    });
    after(() => server.close());
    const secret = randomBytes(32);
    const wrapped = async (key?: CloudKey, other?: Partial<CloudSource>) =>
      wrapping.wrap(targetOf(key ?? (await server.newKey()), secret, other), secret);

    test('the root key comes back, and is not in what is listed', async () => {
      const source = await wrapped();
      assert.deepEqual(Buffer.from(await wrapping.unwrap(source)), secret);
      assert.ok(!Buffer.from(source.wrapped, 'base64').includes(secret));
      assert.notEqual((await wrapped()).wrapped, source.wrapped);
    });

    test('what another key, another source, another generation or another list has wrapped is refused', async () => {
      const key = await server.newKey();
      const source = await wrapped(key);
      const foreign = await wrapped();
      assert.match(await saidBy(wrapping.unwrap({ ...source, wrapped: foreign.wrapped })), notIts);
      // Another list, whose root key is another one; and the same one with the name of this root.
      const secret2 = randomBytes(32);
      const list2 = await wrapping.wrap(targetOf(key, secret2), secret2);
      assert.match(await saidBy(wrapping.unwrap({ ...source, wrapped: list2.wrapped })), notIts);
      assert.match(await saidBy(wrapping.unwrap({ ...list2, wrapped: source.wrapped })), notIts);
      // Two sources of one list give the same key: only a provider that binds tells them apart.
      if (server.kind === 'azure') return;
      assert.match(await saidBy(wrapping.unwrap({ ...source, id: 'other' })), notIts);
      assert.match(await saidBy(wrapping.unwrap({ ...source, generation: 2 })), notIts);
      const root = '0123456789abcdef';
      assert.match(await saidBy(wrapping.unwrap({ ...source, root })), notIts);
    });

    test('what is damaged or cut is refused', async () => {
      const source = await wrapped();
      const bytes = Buffer.from(source.wrapped, 'base64');
      for (const at of [bytes.length - 1, bytes.length - 20]) {
        const spoilt = Buffer.from(bytes);
        spoilt[at]! ^= 1;
        const damaged = { ...source, wrapped: spoilt.toString('base64') };
        assert.match(await saidBy(wrapping.unwrap(damaged)), notIts);
      }
      const cut = { ...source, wrapped: bytes.subarray(0, -1).toString('base64') };
      assert.match(await saidBy(wrapping.unwrap(cut)), notIts);
    });

    test('a key that is not there is said to be none', async () => {
      const missing = targetOf(server.missingKey(), secret);
      assert.match(await saidBy(wrapping.wrap(missing, secret)), /there is no such key .*name, region/);
    });

    if (!lacksStates) statesOfKeys();

    function statesOfKeys(): void {
      test('a key that is disabled does nothing until it is enabled', async () => {
        const key = await server.newKey();
        const source = await wrapped(key);
        await server.disable(key);
        assert.match(await saidBy(wrapping.unwrap(source)), /the key is disabled .*enable it again/);
        assert.match(await saidBy(wrapping.wrap(targetOf(key, secret), secret)), /the key is disabled/);
        await server.enable(key);
        assert.deepEqual(Buffer.from(await wrapping.unwrap(source)), secret);
      });

      test('a key that is about to be deleted is said to be', async () => {
        const key = await server.newKey();
        const source = await wrapped(key);
        await server.scheduleDeletion(key);
        assert.match(
          await saidBy(wrapping.unwrap(source)),
          /about to be deleted.*cancel the deletion at once|not deleted \(one that was may be recovered/,
        );
      });
    }

    test('a rotation wraps the next root key by the same key, beside the one before', async (t) => {
      const dataDir = temporaryDirectory(t);
      const around: Reading = {
        ...{ dataDir, rule: { groupAllowed: false }, credentials: undefined, cloud: wrapping },
      };
      const source = await wrapped();
      writeRootSources(dataDir, [source]);
      const next = await renewAll([source], 2, engine, around);
      const listed = readRootSources(dataDir);
      assert.ok(listed.ok);
      const [one, other] = listed.value?.sources ?? [];
      assert.deepEqual(one, source);
      assert.deepEqual(Buffer.from(await readSource(one!, around)), secret);
      assert.deepEqual(Buffer.from(await readSource(other!, around)), Buffer.from(next));
      assert.deepEqual([other?.id, other?.generation], ['cloud-2', 2]);
    });

    test('a rotation that another one overtook writes nothing', async (t) => {
      const dataDir = temporaryDirectory(t);
      const around: Reading = {
        ...{ dataDir, rule: { groupAllowed: false }, credentials: undefined, cloud: wrapping },
      };
      const source = await wrapped();
      writeRootSources(dataDir, [source]);
      const begun = await Promise.allSettled([
        renewAll([source], 2, engine, around),
        renewAll([source], 2, engine, around),
      ]);
      const done = begun.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []));
      const refused = begun.flatMap((one) => (one.status === 'rejected' ? [one.reason] : []));
      assert.equal(done.length, 1);
      assert.match(String(refused[0]), /another rotation of the root key has begun meanwhile/);
      const listed = readRootSources(dataDir);
      assert.ok(listed.ok);
      const next = listed.value?.sources.filter(({ generation }) => generation === 2) ?? [];
      assert.deepEqual(
        next.map(({ root }) => root),
        done.map(nameOf),
      );
    });
  });
}

/** Answers that are not to be believed, and what was asked. */
export type Lie = readonly [fault: Fault, of: 'wrap' | 'unwrap'];

/** Faults that only a fake has, and what the operator is told then. */
export function cloudRootFaults(name: string, start: () => Promise<FakeServer>, lies: readonly Lie[]): void {
  describe(`${name} that fails`, { concurrency: true }, () => {
    let server: FakeServer;
    before(async () => {
      server = await start();
    });
    after(() => server.close());
    const secret = randomBytes(32);
    const quick: CloudLimits = { connectMs: 30_000, attemptMs: 30_000, attempts: 2, wholeMs: 60_000 };

    /** A source that was wrapped well, at a server that has a fault from then on. */
    async function faulty(fault: Fault, times?: number, limits: CloudLimits = quick) {
      const wrapping = wrappingBy(server, quick);
      const key = await server.newKey();
      const source = await wrapping.wrap(targetOf(key, secret), secret);
      server.fault(key, fault, times);
      return { wrapping: wrappingBy(server, limits), source };
    }

    async function told(fault: Fault, says: RegExp, limits?: CloudLimits): Promise<void> {
      const { wrapping, source } = await faulty(fault, undefined, limits);
      const message = await saidBy(wrapping.unwrap(source));
      assert.match(message, says);
      assert.ok(message.startsWith('cloud ('), message);
      for (const hidden of [server.credential, secret.toString('base64'), source.wrapped, 'of a test'])
        assert.ok(!message.includes(hidden), message);
    }

    for (const fault of ['throttle', 'unavailable', 'cut'] as const)
      test(`one call that fails (${fault}) is made again`, async () => {
        const { wrapping, source } = await faulty(fault, 1);
        assert.deepEqual(Buffer.from(await wrapping.unwrap(source)), secret);
      });
    test('throttling that does not end is said, after as many tries as are allowed', async () => {
      const { wrapping, source } = await faulty('throttle');
      const message = await saidBy(wrapping.unwrap(source));
      assert.match(message, /asks for fewer calls.*wait a minute/);
      // To wrap, to see that it opens, and the tries.
      assert.equal(server.seen.filter(({ key }) => key === source.key).length, 2 + quick.attempts);
    });
    test('an outage is said', () => told('unavailable', /does not answer.*status page.*another source/));
    test('a hang ends in time', () =>
      told('hang', /gave no answer in time/, { ...quick, attemptMs: 150, wholeMs: 600 }));
    test('a start goes on with the next source of the list where one hangs', async () => {
      const hanging = { ...quick, attemptMs: 150, wholeMs: 600 };
      const { wrapping, source } = await faulty('hang', undefined, hanging);
      const store = new MemoryStore();
      const next = givenRootKey('next', secret);
      await openRootKeyForStore(engine, store, next);
      const cloud: RootKeySource = {
        ...{ place: 'cloud', isThere: () => true },
        async open() {
          const bytes = await wrapping.unwrap(source);
          return { kind: 'lent-page', fill: (page) => page.set(bytes) };
        },
      };
      const asked = server.seen.length;
      const opened = await openRootKeyForStore(engine, store, [cloud, next]);
      assert.equal(opened.source, next);
      assert.match(opened.passedOver.join(), /^cloud \(.*gave no answer in time/);
      assert.ok(server.seen.length > asked);
    });
    test('a server that is not there is said', async () => {
      const { wrapping, source } = await faulty('hang', 0);
      const { key } = source;
      const origin = await closedOrigin();
      const moved = { ...source, ...server.at({ ...source, key } as CloudKey, origin) };
      assert.match(await saidBy(wrapping.unwrap(moved as CloudSource)), /does not answer|no answer in time/);
    });
    test('an identity that is not allowed is said to be', () =>
      told('denied', /identity of this process is refused.*allowed to wrap and to unwrap/));
    test('credentials that are not taken are said to be', () =>
      told('no-credentials', /no credentials were found that it takes/));
    test('an answer that is another root key is not taken', () => told('other-secret', /gives another key/));
    test('an answer that is not 32 bytes is not taken', () =>
      told('short', /gave 31 bytes, and a root key has exactly 32/));
    for (const fault of ['other-secret', 'short'] as const)
      test(`what does not come back as it was wrapped (${fault}) is never listed`, async () => {
        const { wrapping, source } = await faulty(fault);
        const { wrapped: _, ...target } = source;
        assert.match(await saidBy(wrapping.wrap(target, secret)), /gives another key|gave 31 bytes/);
      });
    for (const [fault, of] of lies)
      test(`an answer that lies (${fault}, ${of}) is not believed`, async () => {
        if (of === 'unwrap') return told(fault, /is not believed/);
        const { wrapping, source } = await faulty(fault);
        const { wrapped: _, ...target } = source;
        assert.match(await saidBy(wrapping.wrap(target, secret)), /is not believed/);
      });
    test('a rotation in an outage is refused before anything is written', async (t) => {
      const dataDir = temporaryDirectory(t);
      const { wrapping, source } = await faulty('unavailable');
      writeRootSources(dataDir, [source]);
      const around: Reading = {
        dataDir,
        rule: { groupAllowed: false },
        credentials: undefined,
        cloud: wrapping,
      };
      assert.match(await saidBy(renewAll([source], 2, engine, around)), /does not answer/);
      const listed = readRootSources(dataDir);
      assert.deepEqual(listed.ok && listed.value?.sources, [source]);
    });
    test('nothing but wrapping and unwrapping was asked for', async () => {
      await faulty('hang', 0);
      assert.deepEqual([...new Set(server.seen.map(({ call }) => call))].sort(), wanted[server.kind]);
    });
  });
}

const wanted = {
  aws: ['TrentService.Decrypt', 'TrentService.Encrypt'],
  gcp: ['Decrypt', 'Encrypt'],
  azure: ['unwrapkey', 'wrapkey'],
} as const;

/** An address of this machine at which nobody listens. */
async function closedOrigin(): Promise<string> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return `http://127.0.0.1:${port}`;
}

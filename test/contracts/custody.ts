import assert from 'node:assert/strict';
import test, { after, before, describe } from 'node:test';
import type { Algorithm, SchemeEntry } from '../../src/algorithms/descriptor.ts';
import type { Ability } from '../../src/algorithms/ids.ts';
import { registry } from '../../src/algorithms/registry.ts';
import type { AlgorithmKind } from '../../src/algorithms/work-kinds.ts';
import { createCancellation } from '../../src/core/cancellation.ts';
import { isName } from '../../src/core/name.ts';
import type { Result } from '../../src/core/result.ts';
import type { Home } from '../../src/custody/custody.ts';
import type { CryptoCall } from '../../src/dispatch/crypto-dispatch.ts';
import { type BatchItem, type BatchResult, batchOps, batchStatuses } from '../../src/engine/batch.ts';
import { type Engine, keyTypes } from '../../src/engine/engine.ts';
import { wordInput } from '../../src/engine/rooms.ts';
import type { KeyPart } from '../../src/keys/record.ts';
import { createCostMeter } from '../../src/queue/cost-meter.ts';
import { flipBit, nextKeyNumber, verifyOne } from '../support/batches.ts';
import { availableEngines } from '../support/engines.ts';

export interface HomeUnderTest extends Home {
  /** The numbers that are the secret of a part, by a way that only a test has; none of a home that `hidesSecrets`. */
  privateNumbers(part: KeyPart, partIndex: number, tenant: string, kid: string): readonly Uint8Array[];
}

export interface HomePromises {
  /** True if an old reference to a destroyed key is void; otherwise its bytes are in the records only, and go with them. */
  readonly destroyEndsReferences: boolean;
  /** Not even a test sees its secrets. */
  readonly hidesSecrets?: true;
  /** What its keys cannot do, as an engine says it. */
  readonly lacks: readonly Ability[];
}

interface Made {
  readonly kid: string;
  readonly parts: readonly KeyPart[];
}

const tenant = 'acme';
const message = Buffer.from('d74981efa70a0c880b8d8c1985d075dbcbf679b99a5f9914e5aaf96b831a9e24', 'hex');
const { ok, keyUnusable, rejected } = batchStatuses;

/** The promises of every custody and the carrier of its home. Call it with a way to make one. */
export function custodyContract(
  name: string,
  make: () => Promise<HomeUnderTest>,
  { destroyEndsReferences, hidesSecrets, lacks }: HomePromises,
): void {
  describe(`custody ${name}`, () => {
    let home: HomeUnderTest;
    before(async () => {
      home = await make();
    });
    after(() => home.close());

    const keys = new Map<string, Promise<Made>>();
    /** One key of each algorithm: making RSA-4096 takes seconds. */
    const keyOf = (algorithm: Algorithm): Promise<Made> => {
      const known = keys.get(algorithm.name) ?? makeKey(home, algorithm, `acme/p/${algorithm.name}/one#v1`);
      keys.set(algorithm.name, known);
      return known;
    };
    const holds = (algorithm: Algorithm) => home.custody.holds(algorithm);
    /** Those that make signatures or tags. */
    const held = () => registry.filter((each) => holds(each) && each.kind in makingOps);
    const heldOthers = () => registry.filter((each) => holds(each) && !(each.kind in makingOps));
    const referenceTo = ({ kid, parts }: Made, index = 0) =>
      home.custody.keyReference(parts[index]!, index, tenant, kid);

    test('it has a name that records take, says what its keys are worth, and holds some algorithm', () => {
      assert.ok(isName(home.custody.backend));
      assert.notEqual(home.custody.attestationClass, '');
      assert.ok(held().length > 0);
    });

    test('a key of each algorithm that it holds does its work, and our engine takes its signatures', async () => {
      for (const algorithm of held()) {
        const made = await keyOf(algorithm);
        assert.equal(made.parts.length, algorithm.components.length, algorithm.name);
        for (const [index, { schemes }] of algorithm.components.entries()) {
          for (const scheme of schemes) {
            if (scheme.needs !== undefined && lacks.includes(scheme.needs)) continue;
            const output = await makeOutput(home, scheme, referenceTo(made, index));
            assert.ok(
              await isGood(home, algorithm, scheme, made.parts[index]!, output, referenceTo(made, index)),
            );
          }
        }
      }
    });

    test('a tag of another message, key or length is invalid, and no failure', async () => {
      for (const algorithm of held().filter(({ kind }) => kind === 'mac')) {
        const made = await keyOf(algorithm);
        const [{ schemes }] = algorithm.components;
        const key = referenceTo(made);
        const tag = await makeOutput(home, schemes[0], key);
        const check = async (text: Uint8Array, given: Uint8Array, by = key) =>
          (await run(home, [itemOf(batchOps.verifyMac, schemes[0], by, [text, given])]))[0]?.status;
        assert.equal(await check(message, tag), ok);
        assert.equal(await check(flipBit(message, 0), tag), rejected);
        assert.equal(await check(message, flipBit(tag, 7)), rejected);
        assert.equal(await check(message, tag.subarray(1)), rejected);
        const other = await makeKey(home, algorithm, 'acme/p/other/one#v1');
        assert.equal(await check(message, tag, referenceTo(other)), rejected);
      }
    });

    test('it makes no keys that it does not hold', async () => {
      for (const algorithm of registry.filter((each) => !holds(each))) {
        const outcome = await home.custody.generate(algorithm, tenant, 'acme/p/x/one#v1');
        assert.equal(!outcome.ok && outcome.failure.code, 'Unsupported', algorithm.name);
      }
    });

    test('a key is bound to its tenant, its kid with the version, and its place among the parts', async () => {
      for (const algorithm of held()) {
        const { kid, parts } = await keyOf(algorithm);
        const [{ schemes }] = algorithm.components;
        const [part] = parts as [KeyPart];
        const { custody } = home;
        const wrong = [
          custody.keyReference(part, 0, 'other', kid),
          custody.keyReference(part, 0, tenant, kid.replace('#v1', '#v2')),
          custody.keyReference(part, 0, tenant, kid.replace('/one', '/two')),
          custody.keyReference(part, 1, tenant, kid),
        ];
        const items = wrong.map((reference) => makingItem(schemes[0], reference));
        const statuses = (await run(home, items)).map(({ status }) => status);
        assert.deepEqual(statuses, [keyUnusable, keyUnusable, keyUnusable, keyUnusable], algorithm.name);
      }
    });

    test('a key that encrypts, wraps or derives is bound to the same, and a damaged reference is unusable', async () => {
      for (const algorithm of heldOthers()) {
        const { kid, parts } = await keyOf(algorithm);
        const [{ schemes }] = algorithm.components;
        const [part] = parts as [KeyPart];
        const reference = referenceTo({ kid, parts });
        const wrong = [
          home.custody.keyReference(part, 0, 'other', kid),
          home.custody.keyReference(part, 0, tenant, kid.replace('#v1', '#v2')),
          home.custody.keyReference(part, 1, tenant, kid),
          reference.subarray(0, reference.length - 1),
          flipBit(reference, reference.length * 8 - 1),
        ];
        const items = [reference, ...wrong].map((key) => secretItem(algorithm, schemes[0], key));
        const [own, ...others] = (await run(home, items)).map(({ status }) => status);
        // Nothing was encapsulated for the KEM.
        assert.equal(own, algorithm.kind === 'kem' ? rejected : ok, algorithm.name);
        assert.deepEqual(
          others,
          wrong.map(() => keyUnusable),
          algorithm.name,
        );
      }
    });

    test('a damaged reference is unusable, and spoils no other item', async () => {
      for (const algorithm of held()) {
        const reference = referenceTo(await keyOf(algorithm));
        const [{ schemes }] = algorithm.components;
        const damaged = [
          new Uint8Array(0),
          Uint8Array.of(255, 255, 1),
          reference.subarray(0, reference.length - 1),
          flipBit(reference, reference.length * 8 - 1),
          Buffer.concat([reference, Buffer.alloc(1)]),
        ];
        const items = [reference, ...damaged, reference].map((key) => makingItem(schemes[0], key));
        const results = await run(home, items);
        const expected = [ok, ...damaged.map(() => keyUnusable), ok];
        assert.deepEqual(
          results.map(({ status }) => status),
          expected,
          algorithm.name,
        );
        for (const { status, outputs } of results) assert.equal(outputs.length, status === ok ? 1 : 0);
      }
    });

    test('a key does not do the work of another type of key', async () => {
      const all = held();
      for (const algorithm of all) {
        const reference = referenceTo(await keyOf(algorithm));
        const others = all.filter(
          ({ components }) => components[0].schemes[0].scheme !== algorithm.components[0].schemes[0].scheme,
        );
        for (const other of others) {
          const [{ keyType, schemes }] = other.components;
          if (algorithm.components[0].schemes.some(({ scheme }) => scheme === schemes[0].scheme)) continue;
          if (keyType === algorithm.components[0].keyType) continue;
          const [result] = await run(home, [makingItem(schemes[0], reference)]);
          assert.notEqual(result?.status, ok, `${algorithm.name} as ${other.name}`);
        }
      }
    });

    test('a key does its work by its number, and by another one when that is forgotten', async () => {
      for (const algorithm of held()) {
        const key = referenceTo(await keyOf(algorithm));
        const [{ schemes }] = algorithm.components;
        const numbers = [nextKeyNumber(), nextKeyNumber()];
        for (const keyNumber of numbers) {
          const items = [1, 2].map(() => ({ ...makingItem(schemes[0], key), keyNumber }));
          for (const { status } of await run(home, items)) assert.equal(status, ok, algorithm.name);
          home.forget(keyNumber);
        }
        home.forget(numbers[0]!);
      }
    });

    test('what it gives is plain data: a clone of it works as well', async () => {
      for (const algorithm of held()) {
        const made = await keyOf(algorithm);
        const clone = structuredClone(made);
        for (const { publicKey, sealed, ...others } of clone.parts) {
          assert.ok(publicKey instanceof Uint8Array && sealed instanceof Uint8Array);
          assert.deepEqual(others, {});
        }
        assert.ok(
          (await makeOutput(home, algorithm.components[0].schemes[0], referenceTo(clone))).length > 0,
        );
      }
    });

    test('no private number is in what it gives, nor in any result', async () => {
      for (const algorithm of held()) {
        const { kid, parts } = await keyOf(algorithm);
        for (const [index, { schemes }] of algorithm.components.entries()) {
          const part = parts[index]!;
          const numbers = home.privateNumbers(part, index, tenant, kid);
          assert.equal(numbers.length > 0, hidesSecrets !== true);
          const reference = home.custody.keyReference(part, index, tenant, kid);
          const results = await run(
            home,
            [reference, flipBit(reference, 0)].map((key) => makingItem(schemes[0], key)),
          );
          const given = [
            part.publicKey,
            part.sealed ?? new Uint8Array(0),
            reference,
            ...results.flatMap(({ outputs }) => outputs),
          ];
          for (const number of numbers) assert.ok(!given.some((bytes) => holdsPieceOf(bytes, number)), kid);
        }
      }
    });

    test('a destroyed version does nothing more, others go on, and destroying it again is well', async () => {
      const [algorithm] = held() as [Algorithm];
      const [{ schemes }] = algorithm.components;
      const first = await makeKey(home, algorithm, 'acme/p/shredded/one#v1');
      const second = await makeKey(home, algorithm, 'acme/p/shredded/one#v2');
      const kept = referenceTo(first);
      for (let round = 0; round < 2; round++)
        assert.deepEqual(await home.custody.destroy(tenant, [first]), { ok: true, value: undefined });
      const forgotten = { ...first, parts: first.parts.map(({ publicKey }) => ({ publicKey })) };
      const references = [referenceTo(forgotten), referenceTo(second), kept];
      const results = await run(
        home,
        references.map((key) => makingItem(schemes[0], key)),
      );
      assert.deepEqual(
        results.map(({ status }) => status),
        [keyUnusable, ok, destroyEndsReferences ? keyUnusable : ok],
      );
      assert.deepEqual(await home.custody.destroy(tenant, []), { ok: true, value: undefined });
    });
  });
}

async function makeKey({ custody }: Home, algorithm: Algorithm, kid: string): Promise<Made> {
  const made = await custody.generate(algorithm, tenant, kid);
  assert.ok(made.ok, `${algorithm.name}: ${made.ok ? '' : made.failure.code}`);
  return { kid, parts: made.value };
}

function itemOf(
  op: BatchItem['op'],
  { scheme }: SchemeEntry,
  key: Uint8Array,
  inputs: readonly Uint8Array[],
): BatchItem {
  return { op, scheme, keyNumber: 0, key, inputs };
}

const makingOps: Readonly<Partial<Record<AlgorithmKind, BatchItem['op']>>> = {
  signature: batchOps.sign,
  mac: batchOps.mac,
};

/** An item of another kind that needs the secret key. */
function secretItem({ kind }: Algorithm, scheme: SchemeEntry, key: Uint8Array): BatchItem {
  const none = new Uint8Array(0);
  if (kind === 'aead') return itemOf(batchOps.encrypt, scheme, key, [message, none]);
  if (kind === 'key_wrap') return itemOf(batchOps.wrap, scheme, key, [message, none, none]);
  if (kind === 'kem') return itemOf(batchOps.unwrap, scheme, key, [new Uint8Array(2_000), none, none]);
  const names = [Buffer.from(tenant), Buffer.from('acme/p/derived/one#v1/0')];
  return itemOf(batchOps.derive, scheme, key, [message, wordInput(keyTypes.ed25519), ...names]);
}

/** An item that makes a signature or a tag. */
function makingItem(scheme: SchemeEntry, key: Uint8Array): BatchItem {
  const op = scheme.costUs.mac === undefined ? batchOps.sign : batchOps.mac;
  return itemOf(op, scheme, key, [message]);
}

async function makeOutput(home: Home, scheme: SchemeEntry, key: Uint8Array): Promise<Uint8Array> {
  const [result] = await run(home, [makingItem(scheme, key)]);
  assert.equal(result?.status, ok, scheme.alg);
  assert.ok(result.elapsedNs >= 0);
  const [output] = result.outputs as [Uint8Array];
  assert.ok(output.length > 0 && output.length <= scheme.maxOutputBytes);
  return Uint8Array.from(output);
}

/** The one that is not lacking anything, where it can be had. */
const [verifier] = availableEngines()
  .map(({ create }) => create())
  .sort((one, other) => one.description.lacks.length - other.description.lacks.length) as [Engine];
const verifierRoot = verifier.openRoot({ kind: 'memory' });

/** Signatures by the public key alone, in our engine; tags by the home. */
async function isGood(
  home: Home,
  { kind }: Algorithm,
  scheme: SchemeEntry,
  { publicKey }: KeyPart,
  output: Uint8Array,
  reference: Uint8Array,
): Promise<boolean> {
  if (kind !== 'mac')
    return verifyOne(verifier, verifierRoot, scheme.scheme, publicKey, message, output) === ok;
  assert.equal(publicKey.length, 0);
  const [result] = await run(home, [itemOf(batchOps.verifyMac, scheme, reference, [message, output])]);
  return result?.status === ok;
}

/** One call through the home's carrier, of a clone of the items. */
async function run({ carrier }: Home, items: readonly BatchItem[]): Promise<readonly BatchResult[]> {
  const { promise, resolve } = Promise.withResolvers<Result<readonly BatchResult[]>>();
  const call: CryptoCall = {
    tenant,
    callClass: 'sign',
    costUs: 1,
    offeredAtMs: 0,
    deadlineAtMs: Number.POSITIVE_INFINITY,
    cancellation: createCancellation(),
    items: structuredClone(items),
    meters: items.map(() => createCostMeter(100)),
    settle: resolve,
  };
  await carrier.carry([call], call.costUs, false);
  const outcome = await promise;
  assert.ok(outcome.ok, outcome.ok ? '' : outcome.failure.code);
  assert.equal(outcome.value.length, items.length);
  return structuredClone(outcome.value);
}

/** A quarter of a short number would be too much already. */
const pieceBytes = 16;

function holdsPieceOf(bytes: Uint8Array, number: Uint8Array): boolean {
  const all = Buffer.from(bytes);
  for (let at = 0; at + pieceBytes <= number.length; at += pieceBytes)
    if (all.includes(Buffer.from(number.subarray(at, at + pieceBytes)))) return true;
  return false;
}

import { keyTypes, schemes } from '../../algorithms/ids.ts';
import { StartError } from '../../core/start-error.ts';
import {
  type BatchItem,
  batchOps,
  batchStatuses,
  encodeBatch,
  readResults,
  responseFor,
} from '../../engine/batch.ts';
import type { Engine, RootRef } from '../../engine/engine.ts';
import { buildKeyReference } from '../../engine/key-reference.ts';
import type { Store } from '../../store/store.ts';
import { readRotation, witnessKey } from './rotation/rotation-state.ts';
import { orAdvice, RootKeyError, type RootKeySource } from './source.ts';

export interface OpenedRoot {
  readonly root: RootRef;
  /** True: this start made the key, in a place that the next start finds. */
  readonly made: boolean;
  /** The source that gave it. */
  readonly source: RootKeySource;
  /** The root key that records still go over from: a rotation was cut off. */
  readonly before?: RootRef;
  /** Of sources that were tried before it: why each does not open, in words for the operator. */
  readonly passedOver: readonly string[];
}

/** No tenant may have this name, so no tenant's key is sealed under the same derived key. */
const witnessTenant = '/root';
const witnessAad = 'root-witness/v1';

/**
 * Opens the root key of a store by the first source that gives it, or makes it for a new store. Another root key, or none, is
 * refused here and not at each signature. A rotation that was cut off opens both root keys.
 */
export async function openRootKeyForStore(
  engine: Engine,
  store: Store,
  sources: RootKeySource | readonly RootKeySource[],
): Promise<OpenedRoot> {
  const all = Array.isArray(sources) ? (sources as readonly RootKeySource[]) : [sources as RootKeySource];
  const witness = await store.get(witnessKey);
  if (!witness.ok) throw new StartError('the store does not answer');
  const rotation = await readRotation(store);
  if (witness.value === undefined) return openForNewStore(engine, store, all);
  const wanted = [witness.value.value, ...(rotation === undefined ? [] : [rotation.value.witness])];
  const { found, passedOver } = await openWitnessed(engine, all, wanted);
  const [first, second] = found as readonly [Found, Found | undefined];
  return second === undefined
    ? { root: first.root, source: first.source, made: false, passedOver }
    : { root: second.root, source: second.source, before: first.root, made: false, passedOver };
}

async function openForNewStore(
  engine: Engine,
  store: Store,
  sources: readonly RootKeySource[],
): Promise<OpenedRoot> {
  const there = sources.find((source) => source.isThere());
  const source = there ?? (sources[0] as RootKeySource);
  const root = there === undefined ? makeAt(engine, source) : await openFrom(engine, source);
  const outcome = await store.commit([
    { key: witnessKey, value: newWitness(engine, root), expectedRevision: 0 },
  ]);
  if (!outcome.ok || !outcome.value.committed) throw new StartError('the store cannot be written');
  return { root, source, made: there === undefined, passedOver: [] };
}

interface Found {
  readonly root: RootRef;
  readonly source: RootKeySource;
}

/** The root key that opens each witness, and why sources that were tried before did not open; no other key stays open. */
async function openWitnessed(
  engine: Engine,
  sources: readonly RootKeySource[],
  witnesses: readonly Uint8Array[],
): Promise<{ readonly found: readonly Found[]; readonly passedOver: readonly string[] }> {
  const found: (Found | undefined)[] = witnesses.map(() => undefined);
  const failures: StartError[] = [];
  let opened = 0;
  for (const source of sources) {
    if (!found.includes(undefined)) break;
    try {
      if (!source.isThere()) continue;
      const root = await openFrom(engine, source);
      opened++;
      const index = witnesses.findIndex((witness) => opensWitness(engine, root, witness));
      if (index < 0 || found[index] !== undefined) engine.closeRoot(root);
      else found[index] = { root, source };
    } catch (cause) {
      if (!(cause instanceof StartError)) throw cause;
      failures.push(cause);
    }
  }
  if (!found.includes(undefined))
    return { found: found as Found[], passedOver: failures.map(({ message }) => message) };
  for (const one of found) if (one !== undefined) engine.closeRoot(one.root);
  throw whyNone(sources, { failures, opened, some: found.some((one) => one !== undefined) });
}

function whyNone(
  sources: readonly RootKeySource[],
  { failures, opened, some }: { failures: readonly StartError[]; opened: number; some: boolean },
): StartError {
  const [only] = failures;
  const others = failures.map(({ message }) => `; ${message}`).join('');
  if (some)
    return new StartError(
      `a rotation of the root key was cut off, and it goes on with both keys only: the sources give one of them${others}`,
    );
  if (opened > 0)
    return new RootKeyError(
      'another',
      `the root key is not the one that the keys in the store are sealed under${others}`,
    );
  if (only !== undefined && failures.length === 1) return only;
  if (failures.length > 1)
    return new StartError(
      `no source of the root key opens: ${failures.map(({ message }) => message).join('; ')}`,
    );
  return new RootKeyError(
    'missing',
    `${(sources[0] as RootKeySource).place} is missing, and the keys in the store are sealed under it: restore it from your copy`,
  );
}

async function openFrom(engine: Engine, source: RootKeySource): Promise<RootRef> {
  const opening = await source.open();
  return orAdvice(source.place, () => engine.openRoot(opening));
}

function makeAt(engine: Engine, source: RootKeySource): RootRef {
  if (source.make === undefined) throw new StartError(`${source.place}: there is no root key`);
  return source.make(engine);
}

/** A key that only this root key opens. */
export function newWitness(engine: Engine, root: RootRef): Uint8Array {
  return engine.generate(root, keyTypes.ed25519, witnessTenant, witnessAad).sealed;
}

/** Signs with the witness key: the engine has no call that only opens one. */
export function opensWitness(engine: Engine, root: RootRef, sealed: Uint8Array): boolean {
  const items: BatchItem[] = [
    {
      op: batchOps.sign,
      scheme: schemes.ed25519,
      keyNumber: 0,
      key: buildKeyReference(witnessTenant, witnessAad, sealed),
      inputs: [Buffer.from(witnessAad)],
    },
  ];
  const request = encodeBatch(items);
  const response = responseFor(request);
  engine.run(root, request, response);
  return readResults(items, response)[0]?.status === batchStatuses.ok;
}

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
import { orAdvice, type RootKeySource } from './source.ts';

export interface OpenedRoot {
  readonly root: RootRef;
  /** True if this start made the key in a place where the next start finds it. */
  readonly made: boolean;
}

/** The store's place for a key that only the right root key opens. */
const witnessKey = 'meta/root-witness';

/** No tenant may have this name, so no tenant's key is sealed under the same derived key. */
const witnessTenant = '/root';
const witnessAad = 'root-witness/v1';

/**
 * Opens the root key of a store, or makes it for a store that has none yet. A store that was sealed under another root key,
 * or whose root key is gone, is refused here, and not at every signature.
 */
export async function openRootKeyForStore(
  engine: Engine,
  store: Store,
  source: RootKeySource,
): Promise<OpenedRoot> {
  const witness = await store.get(witnessKey);
  if (!witness.ok) throw new StartError('the store does not answer');
  const there = source.isThere();
  if (!there && witness.value !== undefined) {
    throw new StartError(
      `${source.place} is missing, and the keys in the store are sealed under it: restore it from your copy`,
    );
  }
  const root = there ? await openFrom(engine, source) : makeAt(engine, source);
  if (witness.value === undefined) {
    await makeWitness(engine, store, root);
  } else if (!opensWitness(engine, root, witness.value.value)) {
    throw new StartError('the root key is not the one that the keys in the store are sealed under');
  }
  return { root, made: !there };
}

async function openFrom(engine: Engine, source: RootKeySource): Promise<RootRef> {
  const opening = await source.open();
  return orAdvice(source.place, () => engine.openRoot(opening));
}

function makeAt(engine: Engine, source: RootKeySource): RootRef {
  if (source.make === undefined) throw new StartError(`${source.place}: there is no root key`);
  return source.make(engine);
}

async function makeWitness(engine: Engine, store: Store, root: RootRef): Promise<void> {
  const { sealed } = engine.generate(root, keyTypes.ed25519, witnessTenant, witnessAad);
  const outcome = await store.commit([{ key: witnessKey, value: sealed, expectedRevision: 0 }]);
  if (!outcome.ok || !outcome.value.committed) throw new StartError('the store cannot be written');
}

/** Signs with the witness key: the engine has no call that only opens one. */
function opensWitness(engine: Engine, root: RootRef, sealed: Uint8Array): boolean {
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

import { randomBytes } from 'node:crypto';
import {
  closeSync,
  existsSync,
  fsyncSync,
  linkSync,
  openSync,
  realpathSync,
  rmSync,
  statSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { keyTypes, schemes } from '../../algorithms/ids.ts';
import { isDangling } from '../../core/private-file.ts';
import {
  judgeSecretDirectory,
  judgeSecretFile,
  ownerAndMode,
  type SecretRule,
} from '../../core/secret-file.ts';
import { StartError } from '../../core/start-error.ts';
import {
  type BatchItem,
  batchOps,
  batchStatuses,
  encodeBatch,
  readResults,
  responseFor,
} from '../../engine/batch.ts';
import type { Engine, EngineErrorCode, RootRef } from '../../engine/engine.ts';
import { buildKeyReference } from '../../engine/key-reference.ts';
import type { Store } from '../../store/store.ts';

export interface OpenedRoot {
  readonly root: RootRef;
  /** True if this start made the key. */
  readonly made: boolean;
}

/** The store's place for a key that only the right root key opens. */
const witnessKey = 'meta/root-witness';

/** No tenant may have this name, so no tenant's key is sealed under the same derived key. */
const witnessTenant = '/root';
const witnessAad = 'root-witness/v1';

/**
 * Opens the root key, or makes it for a store that has none yet. A store that was sealed under another root key, or
 * whose root key file is gone, is refused here, and not at every signature.
 */
export async function openRootKey(
  engine: Engine,
  store: Store,
  where:
    | { readonly kind: 'memory' }
    | { readonly kind: 'file'; readonly path: string; readonly rule: SecretRule },
): Promise<OpenedRoot> {
  const witness = await store.get(witnessKey);
  if (!witness.ok) throw new StartError('the store does not answer');
  const missing = where.kind === 'file' && !existsSync(where.path);
  if (missing && witness.value !== undefined) {
    throw new StartError(
      `${where.path} is missing, and the keys in the store are sealed under it: restore it from your copy`,
    );
  }
  const root =
    where.kind === 'memory'
      ? orAdvice('the root key', () => engine.openRoot(where))
      : openFile(engine, where, missing);
  if (witness.value === undefined) {
    await makeWitness(engine, store, root);
  } else if (!opensWitness(engine, root, witness.value.value)) {
    throw new StartError('the root key is not the one that the keys in the store are sealed under');
  }
  return { root, made: missing || where.kind === 'memory' };
}

function openFile(
  engine: Engine,
  { path, rule }: { readonly path: string; readonly rule: SecretRule },
  missing: boolean,
): RootRef {
  if (isDangling(path)) throw new StartError(`${path} is a symbolic link to a file that is missing`);
  if (missing && !existsSync(dirname(path))) throw new StartError(`${path}: its directory does not exist`);
  const problem = missing ? judgeSecretDirectory(dirname(path), rule) : judgeSecretFile(path, rule);
  if (problem !== undefined) throw new StartError(problem);
  // The engines follow no link.
  if (missing) return create(engine, path);
  const resolved = realpathSync(path);
  return orAdvice(`${path} ${ownerAndMode(statSync(path))}`, () =>
    engine.openRoot({ kind: 'file', path: resolved }),
  );
}

/**
 * The file has its whole key, on disk, before it has its name: a start that is killed in between must not leave an
 * empty root key, which would keep every later start from serving.
 */
function create(engine: Engine, path: string): RootRef {
  const beside = `${path}.${randomBytes(6).toString('hex')}.new`;
  return orAdvice(path, () => {
    try {
      const root = engine.openRoot({ kind: 'file-create', path: beside });
      linkSync(beside, path);
      return root;
    } finally {
      rmSync(beside, { force: true });
      syncDirectory(dirname(path));
    }
  });
}

function syncDirectory(path: string): void {
  const directory = openSync(path, 'r');
  try {
    fsyncSync(directory);
  } finally {
    closeSync(directory);
  }
}

function orAdvice(path: string, opening: () => RootRef): RootRef {
  try {
    return opening();
  } catch (cause) {
    const { code = 'IO' } = cause as { code?: EngineErrorCode | 'EEXIST' };
    throw new StartError(`${path}: ${advice[code === 'EEXIST' ? 'ROOT_EXISTS' : code] ?? advice.IO}`, {
      cause,
    });
  }
}

const advice: Partial<Record<EngineErrorCode, string>> & { readonly IO: string } = {
  ROOT_PERMISSIONS: 'must be a regular file that the service may read, and others may not',
  ROOT_LENGTH: 'must hold exactly 32 bytes',
  ROOT_MISSING: 'does not exist',
  ROOT_EXISTS: 'was made by another process at the same moment: start again',
  IO: 'cannot be opened or made',
};

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

import type { KeyType } from '../../algorithms/ids.ts';
import {
  type BatchItem,
  type BatchResult,
  type BatchStatus,
  batchOps,
  batchStatuses,
  timedResult,
} from '../../engine/batch.ts';
import type { TpmAttestation } from '../custody.ts';
import { attestKey } from './attesting.ts';
import type { TpmClient } from './client.ts';
import type { TpmDevice } from './device.ts';
import { TpmError } from './errors.ts';
import { keyIn, keyTemplates, keyTypeOf, type NamedTpmKey, publicKeyOf, writeKeyBlob } from './key-blob.ts';
import { handles, objectAttributes as oa, responseCodes } from './numbers.ts';
import { createUnder, type LoadedKey, load, openSession, openStorageRoot } from './objects.ts';
import { readPublicArea } from './public-area.ts';
import type { Session } from './session.ts';
import { tpmSigningWays } from './signing.ts';

/** Loaded over one connection: the storage root key, a session to it, and the last key. A TPM has room for three objects. */
interface Loaded {
  readonly connection: number;
  readonly root: LoadedKey;
  readonly session: Session;
  key: { readonly of: Buffer; readonly key: LoadedKey } | undefined;
}

export interface MadeInTpm {
  readonly publicKey: Uint8Array;
  readonly sealed: Uint8Array;
}

export interface AttestedByTpm {
  readonly signed: TpmAttestation;
  /** True: the TPM made it (sensitiveDataOrigin). */
  readonly local: boolean;
  /** True: it cannot leave for another TPM (fixedTPM, fixedParent). */
  readonly fixed: boolean;
}

/** Keys in a TPM, which loads one at a time. Methods throw a TpmError where the TPM does not work. */
export class TpmKeys {
  readonly #device: TpmDevice;
  #loaded: Loaded | undefined;

  constructor(device: TpmDevice) {
    this.#device = device;
  }

  make(keyType: KeyType, auth: Uint8Array): Promise<MadeInTpm> {
    const template = keyTemplates[keyType];
    if (template === undefined) throw new Error('no template of such a key');
    return this.#twice(undefined, async (client) => {
      const { root, session } = await this.#ready(client, undefined);
      const secrets = { auth, data: Buffer.alloc(0) };
      const kept = await createUnder(client, root, session, template, secrets);
      const publicKey = publicKeyOf(readPublicArea(kept.publicArea));
      return { publicKey, sealed: writeKeyBlob({ parent: root.name, ...kept }) };
    });
  }

  run(item: BatchItem): Promise<BatchResult> {
    return timedResult(async () => {
      const outcome = await this.#sign(item);
      return typeof outcome === 'number' ? outcome : [outcome];
    });
  }

  /**
   * The TPM's attestation of itself and of a key. Undefined: it does not load the key. `bound`: the caller's bytes, at most 32.
   */
  attest(reference: Uint8Array, bound: Uint8Array): Promise<AttestedByTpm | undefined> {
    const named = keyIn(reference);
    if (named === undefined) return Promise.resolve(undefined);
    return this.#twice(undefined, async (client) => {
      const loaded = await this.#load(client, named);
      if (loaded === undefined) return undefined;
      const { attributes } = loaded.key.area;
      const fixed = oa.fixedTpm | oa.fixedParent;
      const by = loaded.session.with({ secret: named.auth });
      const signed = await attestKey(client, { key: loaded.key, by, publicArea: named.publicArea }, bound);
      return {
        signed,
        local: (attributes & oa.sensitiveDataOrigin) !== 0,
        fixed: (attributes & fixed) === fixed,
      };
    });
  }

  async #sign({ op, scheme, key, inputs }: BatchItem): Promise<BatchStatus | Uint8Array> {
    const way = tpmSigningWays[scheme];
    const digested = op === batchOps.signDigest;
    if (!digested && op !== batchOps.sign && op !== batchOps.signDeterministic) return batchStatuses.badInput;
    const [input, context] = inputs as [Uint8Array, Uint8Array?];
    const parameters = way?.parameters(input, digested);
    if (way === undefined || parameters === undefined || (context !== undefined && context.length > 0))
      return batchStatuses.badInput;
    const named = keyIn(key);
    if (named === undefined) return batchStatuses.keyUnusable;
    return this.#twice<BatchStatus | Uint8Array>(batchStatuses.internal, async (client) => {
      const loaded = await this.#load(client, named);
      if (loaded === undefined || keyTypeOf(loaded.key.area) !== way.keyType)
        return batchStatuses.keyUnusable;
      const by = loaded.session.with({ secret: named.auth });
      try {
        const { parameters: answer } = await client.run({
          ...{ code: way.code, handles: [loaded.key], by, parameters },
        });
        return way.signature(answer);
      } catch (cause) {
        // The key is in another place than its own.
        if (cause instanceof TpmError && isRefusedAuth(cause)) return batchStatuses.keyUnusable;
        throw cause;
      }
    });
  }

  /**
   * Tries twice: some TPMs lose what was loaded when the machine sleeps. `otherwise`: the result where a working TPM refuses;
   * undefined: its refusal is thrown.
   */
  #twice<T>(otherwise: T | undefined, work: (client: TpmClient) => Promise<T>): Promise<T> {
    return this.#device.use(async (client) => {
      try {
        return await work(client);
      } catch (cause) {
        if (!(cause instanceof TpmError) || cause.away) throw cause;
        await this.#forgetLoaded(client);
      }
      try {
        return await work(client);
      } catch (cause) {
        if (!(cause instanceof TpmError) || cause.away) throw cause;
        if (otherwise === undefined || isTrouble(cause)) throw cause;
        await this.#forgetLoaded(client);
        return otherwise;
      }
    });
  }

  async #forgetLoaded(client: TpmClient): Promise<void> {
    const loaded = this.#loaded;
    this.#loaded = undefined;
    if (loaded?.connection !== this.#device.connections) return;
    const handlesOfOurs = [loaded.key?.key.handle, loaded.session.handle, loaded.root.handle];
    loaded.session.end();
    for (const handle of handlesOfOurs)
      if (handle !== undefined && handle !== handles.persistentStorageRoot)
        await client.flush(handle).catch(() => {});
  }

  /** Undefined: this TPM does not load it. */
  async #load(
    client: TpmClient,
    named: NamedTpmKey,
  ): Promise<{ readonly key: LoadedKey; readonly session: Session } | undefined> {
    let loaded: Loaded;
    try {
      loaded = await this.#ready(client, named.parent);
    } catch (cause) {
      if (cause instanceof TpmError && cause.code === responseCodes.integrity) return undefined;
      throw cause;
    }
    const of = Buffer.concat([named.privateArea, named.publicArea]);
    if (loaded.key?.of.equals(of) !== true) {
      await this.#unloadKey(client, loaded);
      try {
        const key = await load(client, loaded.root, loaded.session, named);
        loaded.key = { of, key };
      } catch (cause) {
        // Bytes of another TPM's object get any response code. None of them means that the TPM is away.
        if (cause instanceof TpmError && !isTrouble(cause)) return undefined;
        throw cause;
      }
    }
    return { key: loaded.key?.key as LoadedKey, session: loaded.session };
  }

  async #unloadKey(client: TpmClient, loaded: Loaded): Promise<void> {
    const { key } = loaded;
    loaded.key = undefined;
    if (key !== undefined) await client.flush(key.key.handle);
  }

  /** Opens the storage root key of this name, or the one that is there, and a session to it. */
  async #ready(client: TpmClient, parent: Uint8Array | undefined): Promise<Loaded> {
    const known = this.#loaded;
    if (known !== undefined && known.connection === this.#device.connections) {
      if (parent === undefined || Buffer.from(known.root.name).equals(parent)) {
        if (parent === undefined) await this.#unloadKey(client, known);
        return known;
      }
      await this.#forgetLoaded(client);
    }
    this.#loaded = undefined;
    const root = await openStorageRoot(client, parent);
    try {
      const session = await openSession(client, 'hmac', root);
      this.#loaded = { connection: this.#device.connections, root, session, key: undefined };
      return this.#loaded;
    } catch (cause) {
      if (root.handle !== handles.persistentStorageRoot) await client.flush(root.handle).catch(() => {});
      throw cause;
    }
  }
}

const troubles = new Set<number | undefined>([
  ...[responseCodes.failure, responseCodes.objectMemory, responseCodes.sessionMemory],
  ...[responseCodes.lockout, responseCodes.retry, responseCodes.nvUnavailable],
]);

/** True: the TPM is away, or does nothing now. Other codes refuse what was asked. */
export function isTrouble(cause: TpmError): boolean {
  return cause.away || troubles.has(cause.code);
}

function isRefusedAuth({ code }: TpmError): boolean {
  return code === responseCodes.authFail || code === responseCodes.badAuth;
}

import { createHash, randomBytes } from 'node:crypto';
import { StartError } from '../../core/start-error.ts';
import { TpmClient } from './client.ts';
import { TpmError } from './errors.ts';
import { commands, objectAttributes as oa, responseCodes, tpmAlgorithms } from './numbers.ts';
import { createUnder, type LoadedKey, withLoaded, withSession, withStorageRoot } from './objects.ts';
import {
  meetPolicy,
  type PcrValues,
  pcrPolicy,
  pcrsOf,
  readPcrs,
  type SealPolicy,
  sealPolicyDigest,
} from './policy.ts';
import type { Session } from './session.ts';
import { requireTries } from './state.ts';
import { tpmPlaceOf } from './transport.ts';
import { Writer } from './wire.ts';

/** A sealed root key as a list keeps it. Nothing of it is secret. */
export interface TpmSealed {
  /** Name of the storage root key, in hex: it tells another TPM, or a cleared one. */
  readonly parent: string;
  /** TPM2B contents, base64. */
  readonly publicArea: string;
  readonly privateArea: string;
  /** The PCRs at the sealing. */
  readonly values: PcrValues;
}

/** Values that the operator's key has signed. */
export interface ApprovedValues {
  readonly values: PcrValues;
  /** Base64, 64 bytes. */
  readonly signature: string;
}

/** The TPM that seals a root key, and the conditions. */
export interface TpmSealPlace {
  /** See tpmPlaceOf. */
  readonly tcti: string;
  /** Numbers of PCRs in the SHA-256 bank. */
  readonly pcrs: readonly number[];
  /** Base64 of the DER of SubjectPublicKeyInfo. */
  readonly operatorKey: string;
  /** Hex, 16 bytes: an operator's signature is for this source alone. */
  readonly reference: string;
}

export interface TpmSealedPlace extends TpmSealPlace {
  readonly sealed: TpmSealed;
  readonly approved: readonly ApprovedValues[];
}

/**
 * Seals a root key to a TPM, in a process that ends soon. The device is opened for each call and closed after it. A refused PIN is
 * never tried again by itself. Errors are StartErrors.
 */
export interface RootSealing {
  /** Seals, and unseals once as a proof. `parent`: name of the storage root key, where it is known. */
  seal(
    where: TpmSealPlace & Partial<Pick<TpmSealed, 'parent'>>,
    pin: Uint8Array | undefined,
    secret: Uint8Array,
  ): Promise<TpmSealed>;
  /** Unseals; the caller wipes the bytes. `refused`: called where the TPM refused the PIN. */
  unseal(where: TpmSealedPlace, pin: Uint8Array | undefined, refused?: () => void): Promise<Uint8Array>;
  /** Reads the PCRs. */
  values(where: Pick<TpmSealPlace, 'tcti' | 'pcrs'>): Promise<PcrValues>;
}

export const tpmSealing: RootSealing = {
  seal: ({ parent, ...where }, pin, secret) =>
    said(where.tcti, async (client) => {
      const values = await readPcrs(client, [...where.pcrs]);
      const policy = policyOf(where, values, pin !== undefined);
      const known = parent === undefined ? undefined : Buffer.from(parent, 'hex');
      const sealed = await withStorageRoot(client, known, (root) =>
        withSession(client, 'hmac', root, async (session) => {
          const auth = authOf(pin);
          try {
            const kept = await createUnder(client, root, session, templateOf(policy), { auth, data: secret });
            return {
              parent: Buffer.from(root.name).toString('hex'),
              publicArea: Buffer.from(kept.publicArea).toString('base64'),
              privateArea: Buffer.from(kept.privateArea).toString('base64'),
              values,
            };
          } finally {
            auth.fill(0);
          }
        }),
      );
      const back = await unsealBy(client, { ...where, sealed, approved: [] }, pin);
      const same = Buffer.from(secret).equals(back);
      back.fill(0);
      if (!same) throw new TpmError('it does not give back what it sealed', 0);
      return sealed;
    }),
  unseal: (where, pin, refused) =>
    said(where.tcti, async (client) => {
      try {
        return await unsealBy(client, where, pin);
      } catch (cause) {
        if (cause instanceof TpmError && cause.code === responseCodes.authFail) refused?.();
        throw cause;
      }
    }),
  values: ({ tcti, pcrs }) => said(tcti, (client) => readPcrs(client, pcrs)),
};

async function said<T>(tcti: string, does: (client: TpmClient) => Promise<T>): Promise<T> {
  let client: TpmClient | undefined;
  try {
    const place = tpmPlaceOf(tcti);
    if (place === undefined) throw new TpmError('there is no TPM by such a name');
    client = await TpmClient.open(place);
    return await does(client);
  } catch (cause) {
    if (!(cause instanceof TpmError)) throw cause;
    throw new StartError(`the TPM ${tcti}: ${cause.message}`, { cause });
  } finally {
    await client?.close();
  }
}

function policyOf(where: TpmSealPlace, values: PcrValues, pin: boolean): SealPolicy {
  return {
    operatorKey: Buffer.from(where.operatorKey, 'base64'),
    reference: Buffer.from(where.reference, 'hex'),
    sealedUnder: pcrPolicy(values),
    pin,
  };
}

/** A wrong PIN counts towards the lock-out. Without a PIN there is nothing to guess. */
function templateOf(policy: SealPolicy): Buffer {
  return new Writer()
    .u16(tpmAlgorithms.keyedHash)
    .u16(tpmAlgorithms.sha256)
    .u32(oa.fixedTpm | oa.fixedParent | (policy.pin ? 0 : oa.noDa))
    .sized(sealPolicyDigest(policy))
    .u16(tpmAlgorithms.null)
    .sized(Buffer.alloc(0))
    .done();
}

/** An authorization is at most as long as a name's hash, without zeros at its end (TPM 2.0 part 1, 19.6.4). */
function authOf(pin: Uint8Array | undefined): Buffer {
  if (pin === undefined) return Buffer.alloc(0);
  const auth = createHash('sha256').update(pin).digest();
  let end = auth.length;
  while (end > 0 && auth[end - 1] === 0) end--;
  return auth.subarray(0, end);
}

async function unsealBy(
  client: TpmClient,
  { sealed, approved, ...where }: TpmSealedPlace,
  pin: Uint8Array | undefined,
): Promise<Uint8Array> {
  const policy = policyOf(where, sealed.values, pin !== undefined);
  const pcrs = pcrsOf(sealed.values);
  const now = await readPcrs(client, pcrs);
  const signed = signedFor(now, { sealed, approved });
  if (pin !== undefined) await requireTries(client);
  const kept = {
    publicArea: Buffer.from(sealed.publicArea, 'base64'),
    privateArea: Buffer.from(sealed.privateArea, 'base64'),
  };
  return withStorageRoot(client, Buffer.from(sealed.parent, 'hex'), (root) =>
    withSession(client, 'hmac', root, (session) =>
      withLoaded(client, root, session, kept, (object) =>
        withSession(client, 'policy', root, async (proof) => {
          await meetPolicy(client, proof, policy, pcrs, signed);
          return unsealed(client, object, proof, pin);
        }),
      ),
    ),
  );
}

async function unsealed(
  client: TpmClient,
  object: LoadedKey,
  proof: Session,
  pin: Uint8Array | undefined,
): Promise<Uint8Array> {
  const secret = authOf(pin);
  try {
    const by = proof.with({ secret, provesSecret: pin !== undefined, encryptsAnswer: true });
    const { parameters } = await client.run({ code: commands.unseal, handles: [object], by });
    const given = parameters.sized();
    const own = Uint8Array.from(given);
    given.fill(0);
    return own;
  } finally {
    secret.fill(0);
  }
}

/** The approval of the PCRs as they are. Undefined: they are as at the sealing. Throws a TpmError that says what differs. */
function signedFor(now: PcrValues, { sealed, approved }: Pick<TpmSealedPlace, 'sealed' | 'approved'>) {
  const differing = (values: PcrValues) => pcrsOf(now).filter((pcr) => values[pcr] !== now[pcr]);
  if (differing(sealed.values).length === 0) return undefined;
  const fitting = approved.find(({ values }) => differing(values).length === 0);
  if (fitting !== undefined)
    return { policy: pcrPolicy(now), signature: Buffer.from(fitting.signature, 'base64') };
  const all = [sealed.values, ...approved.map(({ values }) => values)].map(differing);
  const [least = []] = all.sort((one, other) => one.length - other.length);
  const which = least.length === 1 ? `PCR ${least[0]} has` : `PCRs ${least.join(', ')} have`;
  throw new TpmError(
    `${which} a value that nobody approved: was the firmware, the boot loader or the kernel changed? If that is as it should be, have the operator approve it: intaglio root tpm request, authorize, accept`,
    responseCodes.policyFail,
  );
}

/** The reference of a new source. */
export function newReference(): string {
  return randomBytes(16).toString('hex');
}

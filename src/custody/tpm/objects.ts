import { constants, createECDH, createPublicKey, publicEncrypt, randomBytes } from 'node:crypto';
import { makingLimitMs, type Named, type TpmClient } from './client.ts';
import { TpmError } from './errors.ts';
import {
  commands,
  handles,
  objectAttributes as oa,
  responseCodes,
  sessionTypes,
  tpmAlgorithms,
} from './numbers.ts';
import {
  exponentOf,
  objectName,
  type PublicArea,
  p256Area,
  readPublicArea,
  restrictedPrimary,
} from './public-area.ts';
import { emptyPassword, kdfE, Session, sessionCipher } from './session.ts';
import { Writer } from './wire.ts';

/** A loaded object, or a persistent one. */
export interface LoadedKey extends Named {
  readonly area: PublicArea;
}

/** The storage root key of P-256, which each TPM derives from its seed (TCG EK Credential Profile, template L-2, for storage). */
const storageRootTemplate = p256Area({ attributes: restrictedPrimary | oa.decrypt, protects: sessionCipher });

/** TPM2B_SENSITIVE_CREATE of a primary: no authorization, no data. */
const noSecrets = new Writer().sized(new Writer().u16(0).u16(0).done()).done();
const noOutsideInfoAndPcrs = new Writer().u16(0).u32(0).done();

export function createParameters(sensitive: Buffer, template: Buffer): Buffer {
  return Buffer.concat([sensitive, new Writer().sized(template).bytes(noOutsideInfoAndPcrs).done()]);
}

/** Makes a primary key in the owner's hierarchy. The caller flushes it. Throws a TpmError. */
export async function createPrimary(
  client: TpmClient,
  template: Buffer,
): Promise<LoadedKey & { readonly publicArea: Buffer }> {
  // Keys of the owner's hierarchy are the same until the TPM is cleared.
  const owner = { handle: handles.owner, name: new Writer().u32(handles.owner).done() };
  try {
    const { handle, parameters } = await client.run({
      ...{ code: commands.createPrimary, handles: [owner], by: emptyPassword, givesHandle: true },
      parameters: createParameters(noSecrets, template),
      limitMs: makingLimitMs,
    });
    const publicArea = parameters.sized();
    return {
      handle,
      publicArea: Buffer.from(publicArea),
      name: objectName(publicArea),
      area: readPublicArea(publicArea),
    };
  } catch (cause) {
    if (cause instanceof TpmError && cause.code === responseCodes.badAuth)
      throw new TpmError(
        'its owner hierarchy has a password, and there is no storage root key at 0x81000001 (tpm2_evictcontrol makes one)',
        responseCodes.badAuth,
      );
    throw cause;
  }
}

/** The object at this handle. Undefined: there is none. */
export async function readPublic(client: TpmClient, handle: number): Promise<LoadedKey | undefined> {
  const object = { handle, name: new Writer().u32(handle).done() };
  try {
    const { parameters } = await client.run({ code: commands.readPublic, handles: [object] });
    const publicArea = parameters.sized();
    return { handle, name: objectName(publicArea), area: readPublicArea(publicArea) };
  } catch (cause) {
    if (cause instanceof TpmError && cause.code === responseCodes.handle) return undefined;
    throw cause;
  }
}

/** As openStorageRoot; a key that was made anew is flushed behind `use`. */
export async function withStorageRoot<T>(
  client: TpmClient,
  pinned: Uint8Array | undefined,
  use: (root: LoadedKey) => Promise<T>,
): Promise<T> {
  const root = await openStorageRoot(client, pinned);
  return root.handle === handles.persistentStorageRoot
    ? use(root)
    : client.using(root.handle, () => use(root));
}

/**
 * The parent of all our objects: the machine's persistent storage root key, or one that is derived anew and that the caller
 * flushes. `pinned`: the name that it must have. Throws a TpmError.
 */
export async function openStorageRoot(client: TpmClient, pinned: Uint8Array | undefined): Promise<LoadedKey> {
  const fits = (key: LoadedKey) =>
    (pinned === undefined || Buffer.from(key.name).equals(pinned)) && isStorage(key.area);
  const kept = await readPublic(client, handles.persistentStorageRoot);
  if (kept !== undefined && fits(kept)) return kept;
  const made = await createPrimary(client, storageRootTemplate);
  if (fits(made)) return made;
  await client.flush(made.handle);
  throw new TpmError(
    'it is another TPM, or it was cleared: its storage root key is not the one of before',
    responseCodes.integrity,
  );
}

function isStorage({ attributes, key }: PublicArea): boolean {
  const storage = oa.restricted | oa.decrypt;
  return (attributes & storage) === storage && key.kind !== 'other';
}

/** As openSession; it is flushed behind `use`. */
export async function withSession<T>(
  client: TpmClient,
  type: keyof typeof sessionTypes,
  root: LoadedKey,
  use: (session: Session) => Promise<T>,
): Promise<T> {
  const session = await openSession(client, type, root);
  return client.using(session.handle, () => use(session)).finally(() => session.end());
}

/** A session whose salt is encrypted to `root`. The caller flushes and ends it. Throws a TpmError. */
export async function openSession(
  client: TpmClient,
  type: keyof typeof sessionTypes,
  root: LoadedKey,
): Promise<Session> {
  const nonceCaller = randomBytes(32);
  const { salt, encrypted } = saltOf(root.area);
  try {
    const { handle, parameters } = await client.run({
      code: commands.startAuthSession,
      handles: [root, { handle: handles.null, name: new Writer().u32(handles.null).done() }],
      givesHandle: true,
      parameters: new Writer()
        .sized(nonceCaller)
        .sized(encrypted)
        .u8(sessionTypes[type])
        .bytes(sessionCipher)
        .u16(tpmAlgorithms.sha256)
        .done(),
    });
    return new Session(handle, { salt, nonceTpm: parameters.sized(), nonceCaller });
  } finally {
    salt.fill(0);
  }
}

/** Nothing vouches for a public key before there is a session. A bad one is the fault of the TPM, or of somebody between. */
function saltOf(area: PublicArea): ReturnType<typeof saltFor> {
  try {
    return saltFor(area);
  } catch (cause) {
    if (cause instanceof TpmError) throw cause;
    throw new TpmError('its storage root key is none to which a salt can be encrypted');
  }
}

/** TPM 2.0 part 1, annexes B.10.2 (RSA) and C.6.1 (ECC). */
function saltFor({ key }: PublicArea): { readonly salt: Buffer; readonly encrypted: Buffer } {
  if (key.kind === 'rsa') {
    const salt = randomBytes(32);
    const jwk = { kty: 'RSA', n: key.modulus.toString('base64url'), e: exponentOf(key.exponent) };
    const encrypted = publicEncrypt(
      {
        key: createPublicKey({ key: jwk, format: 'jwk' }),
        ...{
          padding: constants.RSA_PKCS1_OAEP_PADDING,
          oaepHash: 'sha256',
          oaepLabel: Buffer.from('SECRET\0'),
        },
      },
      salt,
    );
    return { salt, encrypted };
  }
  if (key.kind !== 'ecc') throw new TpmError('its storage root key is neither of RSA nor of P-256');
  const ephemeral = createECDH('prime256v1');
  const point = ephemeral.generateKeys();
  const [x, y] = [point.subarray(1, 33), point.subarray(33)];
  const z = ephemeral.computeSecret(Buffer.concat([Buffer.of(4), key.x, key.y]));
  const salt = kdfE(z, 'SECRET', x, key.x);
  z.fill(0);
  return { salt, encrypted: new Writer().sized(x).sized(y).done() };
}

/** Loads an object that lies under `root`, and flushes it behind `use`. Throws a TpmError. */
export async function withLoaded<T>(
  client: TpmClient,
  root: LoadedKey,
  session: Session,
  { publicArea, privateArea }: KeptObject,
  use: (object: LoadedKey) => Promise<T>,
): Promise<T> {
  const loaded = await load(client, root, session, { publicArea, privateArea });
  return client.using(loaded.handle, () => use(loaded));
}

/** Loads an object that lies under `root`. The caller flushes it. Throws a TpmError. */
export async function load(
  client: TpmClient,
  root: LoadedKey,
  session: Session,
  { publicArea, privateArea }: KeptObject,
): Promise<LoadedKey> {
  const { handle } = await client.run({
    ...{ code: commands.load, handles: [root], by: session.with({}), givesHandle: true },
    parameters: new Writer().sized(privateArea).sized(publicArea).done(),
  });
  return { handle, name: objectName(publicArea), area: readPublicArea(publicArea) };
}

/** An object outside of the TPM. Its parent encrypts the private area. */
export interface KeptObject {
  readonly publicArea: Uint8Array;
  readonly privateArea: Uint8Array;
}

/** Makes an object under `root`. Secrets go to the TPM encrypted. Throws a TpmError. */
export async function createUnder(
  client: TpmClient,
  root: LoadedKey,
  session: Session,
  template: Buffer,
  secrets: { readonly auth: Uint8Array; readonly data: Uint8Array } = {
    auth: Buffer.alloc(0),
    data: Buffer.alloc(0),
  },
): Promise<KeptObject> {
  const inner = new Writer().sized(secrets.auth).sized(secrets.data).done();
  const sensitive = new Writer().sized(inner).done();
  const parameters = createParameters(sensitive, template);
  try {
    const { parameters: made } = await client.run({
      ...{ code: commands.create, handles: [root], by: session.with({ encryptsCommand: true }) },
      parameters,
      limitMs: makingLimitMs,
    });
    const [privateArea, publicArea] = [made.sized(), made.sized()];
    return { publicArea: Buffer.from(publicArea), privateArea: Buffer.from(privateArea) };
  } finally {
    for (const bytes of [inner, sensitive, parameters]) bytes.fill(0);
  }
}

import { constants, createECDH, createHash, createPublicKey, publicEncrypt, randomBytes } from 'node:crypto';
import { makingLimitMs, type Named, type TpmClient } from './client.ts';
import { TpmError } from './errors.ts';
import {
  commands,
  curveP256,
  handles,
  objectAttributes as oa,
  responseCodes,
  sessionTypes,
  tpmAlgorithms,
} from './numbers.ts';
import { emptyPassword, kdfE, Session, sessionCipher } from './session.ts';
import { inBytes, Reader, Writer } from './wire.ts';

/** A public area (TPMT_PUBLIC), as far as it is looked at. */
export interface PublicArea {
  readonly type: number;
  readonly attributes: number;
  readonly key: /** A point of P-256. */
    | { readonly kind: 'ecc'; readonly x: Buffer; readonly y: Buffer }
    | { readonly kind: 'rsa'; readonly modulus: Buffer; readonly exponent: number }
    | { readonly kind: 'other' };
}

/** An object that is loaded, or lies there for good. */
export interface LoadedKey extends Named {
  readonly area: PublicArea;
}

/** The name of an object: the hash algorithm and the hash of its public area (TPM 2.0 part 1, 16). */
export function objectName(publicArea: Uint8Array): Buffer {
  return new Writer()
    .u16(tpmAlgorithms.sha256)
    .bytes(createHash('sha256').update(publicArea).digest())
    .done();
}

export function readPublicArea(bytes: Uint8Array): PublicArea {
  const reader = new Reader(bytes);
  const type = reader.u16();
  if (reader.u16() !== tpmAlgorithms.sha256) throw new TpmError('a key of it has no name by SHA-256');
  const attributes = reader.u32();
  reader.sized();
  if (type === tpmAlgorithms.ecc) {
    skipSymmetric(reader);
    skipScheme(reader);
    const curve = reader.u16();
    skipScheme(reader);
    // Other curves have other coordinates, and nothing here is done with them.
    if (curve !== curveP256) return { type, attributes, key: { kind: 'other' } };
    const coordinate = () => inBytes(reader.sized(), coordinateBytes);
    return { type, attributes, key: { kind: 'ecc', x: coordinate(), y: coordinate() } };
  }
  if (type === tpmAlgorithms.rsa) {
    skipSymmetric(reader);
    skipScheme(reader);
    reader.u16();
    const exponent = reader.u32() || 65_537;
    return { type, attributes, key: { kind: 'rsa', modulus: Buffer.from(reader.sized()), exponent } };
  }
  return { type, attributes, key: { kind: 'other' } };
}

function skipSymmetric(reader: Reader): void {
  if (reader.u16() !== tpmAlgorithms.null) reader.take(4);
}

function skipScheme(reader: Reader): void {
  if (reader.u16() !== tpmAlgorithms.null) reader.take(2);
}

const coordinateBytes = 32;

/** Attributes of a key that the TPM makes anew from a seed, and that does one thing within it alone. */
export const restrictedPrimary =
  oa.fixedTpm | oa.fixedParent | oa.sensitiveDataOrigin | oa.userWithAuth | oa.noDa | oa.restricted;

interface P256Area {
  readonly attributes: number;
  /** TPMT_SYM_DEF_OBJECT of what it protects; absent: it protects nothing. */
  readonly protects?: Uint8Array;
  /** TPMT_ECC_SCHEME; absent: what a command says counts. */
  readonly scheme?: Uint8Array;
  /** Absent, as in templates: the TPM draws it. */
  readonly point?: { readonly x: Uint8Array; readonly y: Uint8Array };
}

const none = new Writer().u16(tpmAlgorithms.null).done();
const empty = Buffer.alloc(0);

/** TPMT_PUBLIC of a key of P-256, without a policy and without a key derivation of its own. */
export function p256Area({ attributes, protects = none, scheme = none, point }: P256Area): Buffer {
  const { x = empty, y = empty } = point ?? {};
  return new Writer()
    .u16(tpmAlgorithms.ecc)
    .u16(tpmAlgorithms.sha256)
    .u32(attributes)
    .sized(empty)
    .bytes(protects)
    .bytes(scheme)
    .u16(curveP256)
    .u16(tpmAlgorithms.null)
    .sized(x)
    .sized(y)
    .done();
}

/** The storage root key of P-256 that every TPM makes anew from its seed (TCG EK Credential Profile, template L-2, for storage). */
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
  // Of the owner: its keys are the same until the TPM is cleared.
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

/** Of what lies at this handle; undefined where nothing does. */
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

/** As openStorageRoot, with what has to be flushed flushed behind `use`. */
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
 * The key under which all objects of ours are kept: the machine's, or one that is made anew, which the caller flushes. `pinned`:
 * the name that it must have. Throws a TpmError.
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

/** Nothing vouches for a public key before there is a session: what is no key at all is the TPM's fault, or of who is between. */
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

export function exponentOf(exponent: number): string {
  return new Writer()
    .u32(exponent)
    .done()
    .subarray(exponent > 0xff_ffff ? 0 : 1)
    .toString('base64url');
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

/** The caller flushes it. */
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

/** An object as it lies outside of the TPM: the private area is encrypted under its parent. */
export interface KeptObject {
  readonly publicArea: Uint8Array;
  readonly privateArea: Uint8Array;
}

/** Makes an object under `root`; data that is to be sealed goes encrypted. Throws a TpmError. */
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

import { type KeyType, keyTypes, type Scheme } from '../../algorithms/ids.ts';
import { registry } from '../../algorithms/registry.ts';
import { BoundedCache } from '../../core/bounded-cache.ts';
import { parseKeyReference } from '../../engine/key-reference.ts';
import type { TokenKeyName } from '../../keys/record.ts';
import { type Attribute, codeOf, type Handle, requireLogin } from './cryptoki.ts';
import { type KeyName, keyNameOf, ownLabelPrefix, wrappingIdOf } from './key-name.ts';
import { attributes as a, objectClasses } from './numbers.ts';
import type { KeyMadeInToken, NotMade } from './protocol.ts';
import { isSignedBy, publicKeyIn } from './public-keys.ts';
import { signingWays, type TokenKeyKind, tokenKeyKinds } from './schemes.ts';
import {
  adoptionTemplate,
  attributesOfUse,
  notMade,
  privateTemplate,
  publicTemplate,
  secretTemplate,
} from './templates.ts';
import { generationLimitMs, type Token } from './token.ts';

/** A key that was found: handles are the session's process's, and good until the token is opened again. */
export interface FoundKey {
  readonly handle: Handle;
  readonly tokenKeyType: number;
  /** Bits of an RSA modulus, DER of a curve, number of a parameter set, bytes of a secret key: which key type it can be. */
  readonly keyType: KeyType | undefined;
  readonly wrapping: Handle | undefined;
}

/** Handles and a type: some 300 bytes each. */
const maxFoundKeys = 4_096;

/** A pair whose private key did not sign for its public key. The message is for the operator. */
export class KeyNotProven extends Error {}

/** The keys in a token: made, found, adopted and destroyed. Errors of the module are thrown as they are, and TokenAway. */
export class TokenKeys {
  readonly #token: Token;
  #found = new BoundedCache<string, FoundKey>(maxFoundKeys);
  #generation = 0;

  constructor(token: Token) {
    this.#token = token;
  }

  /** Undefined: there is no such key. A token that is away shows none either. */
  find(reference: Uint8Array): FoundKey | Promise<FoundKey | undefined> {
    if (this.#generation !== this.#token.generation) {
      this.#found = new BoundedCache(maxFoundKeys);
      this.#generation = this.#token.generation;
    }
    const text = referenceText(reference);
    return this.#found.get(text) ?? this.#look(reference, text);
  }

  async #look(reference: Uint8Array, text: string): Promise<FoundKey | undefined> {
    const name = keyNameOf(reference);
    if (name === undefined) return undefined;
    const generation = this.#generation;
    const found = await this.#token.inSession((session) => this.#search(session, name));
    if (found !== undefined && generation === this.#generation) this.#found.set(text, found);
    return found;
  }

  forget(reference: Uint8Array): void {
    this.#found.delete(referenceText(reference));
  }

  /** Makes the key of this reference, and proves a pair by one signature. */
  async generate(keyType: KeyType, reference: Uint8Array): Promise<KeyMadeInToken | NotMade> {
    const kind = tokenKeyKinds[keyType];
    const name = keyNameOf(reference);
    if (kind === undefined || name === undefined) return notKept;
    const label = `${ownLabelPrefix}${partIn(reference)}`;
    const made = await this.#kept(name, (session) => this.#generate(session, kind, keyType, name.id, label));
    return { kind: 'made', publicKey: made };
  }

  /** A key that is not to be has no objects either: not where the making fails half way, nor where it is done too late. */
  async #kept<T>(name: KeyName, make: (session: Handle) => Promise<T>): Promise<T> {
    let givenUp = false;
    let begun = false;
    try {
      return await this.#token.inSession(async (session) => {
        // What a session that died has left would have the same CKA_ID.
        if (begun) this.#discard(session, name);
        begun = true;
        try {
          const made = await make(session);
          if (givenUp) this.#discard(session, name);
          return made;
        } catch (error) {
          this.#tryToDiscard(session, name);
          throw error;
        }
      }, generationLimitMs);
    } catch (error) {
      givenUp = true;
      throw error;
    }
  }

  #tryToDiscard(session: Handle, name: KeyName): void {
    try {
      this.#discard(session, name);
    } catch {
      // The making has failed, which is what is told. The home asks again.
    }
  }

  /** Ends the use of these keys. An adopted one is destroyed as well: it is this service's. */
  async destroy(references: readonly Uint8Array[]): Promise<void> {
    for (const reference of references) {
      this.forget(reference);
      const name = keyNameOf(reference);
      if (name !== undefined) await this.#token.inSession((session) => this.#destroy(session, name));
    }
  }

  /** As if these keys had never been made, or taken. */
  async discard(references: readonly Uint8Array[]): Promise<void> {
    for (const reference of references) {
      this.forget(reference);
      const name = keyNameOf(reference);
      if (name !== undefined) await this.#token.inSession((session) => this.#discard(session, name));
    }
  }

  /** Takes a key that is in the token as the one of this reference. */
  async adopt(
    keyType: KeyType,
    reference: Uint8Array,
    wanted: TokenKeyName,
  ): Promise<KeyMadeInToken | NotMade> {
    const kind = tokenKeyKinds[keyType];
    const name = keyNameOf(reference);
    if (kind === undefined || name === undefined) return notKept;
    try {
      return await this.#kept(name, (session) =>
        this.#adopt(session, kind, keyType, name, reference, wanted),
      );
    } catch (error) {
      if (error instanceof KeyNotProven) return notMade('BadRequest', notProven);
      throw error;
    }
  }

  /** CKA_LOCAL, CKA_ALWAYS_SENSITIVE, CKA_NEVER_EXTRACTABLE, CKA_SENSITIVE, CKA_EXTRACTABLE of a key, in this order. */
  async facts(found: FoundKey): Promise<readonly boolean[]> {
    const types = [a.local, a.alwaysSensitive, a.neverExtractable, a.sensitive, a.extractable];
    return this.#token.inSession((session) => types.map((type) => this.#flag(session, found.handle, type)));
  }

  async #generate(
    session: Handle,
    kind: TokenKeyKind,
    keyType: KeyType,
    id: Buffer,
    label: string,
  ): Promise<Uint8Array> {
    const { cryptoki } = this.#token;
    const mechanism = { mechanism: kind.generation, parameter: null };
    if (!kind.pair) {
      await cryptoki.C_GenerateKeyAsync(session, mechanism, secretTemplate(kind, id, label, kind.uses));
      await this.#generateWrapping(session, kind, id, label);
      return new Uint8Array(0);
    }
    const { publicKey, privateKey } = await cryptoki.C_GenerateKeyPairAsync(
      session,
      mechanism,
      publicTemplate(kind, id, label),
      privateTemplate(id, label),
    );
    return this.#proven(session, keyType, publicKey, privateKey);
  }

  async #generateWrapping(session: Handle, kind: TokenKeyKind, id: Buffer, label: string): Promise<void> {
    if (kind.hasWrappingKey !== true) return;
    const mechanism = { mechanism: kind.generation, parameter: null };
    const template = secretTemplate(kind, wrappingIdOf(id), label, ['encrypt']);
    await this.#token.cryptoki.C_GenerateKeyAsync(session, mechanism, template);
  }

  /** The public bytes of a pair, whose private key signs for it. */
  async #proven(
    session: Handle,
    keyType: KeyType,
    publicKey: Handle,
    privateKey: Handle,
  ): Promise<Uint8Array> {
    const bytes = publicKeyIn(keyType, (type) => this.#value(session, publicKey, type));
    if (bytes === undefined) throw new KeyNotProven('the token gives no public key');
    const { scheme } = firstSchemes.get(keyType) as { readonly scheme: Scheme };
    const way = signingWays[scheme];
    const prepared = way?.prepare(trialMessage, false, this.#token.mechanisms);
    if (way === undefined || prepared === undefined)
      throw new KeyNotProven('the token has no mechanism to sign with');
    this.#token.cryptoki.C_SignInit(session, prepared.mechanism, privateKey);
    const room = Buffer.alloc(way.signatureBytes);
    const signature = await this.#token.cryptoki.C_SignAsync(session, prepared.data, room);
    if (!isSignedBy(keyType, bytes, trialMessage, way.finish(signature)))
      throw new KeyNotProven('the private key does not belong to the public key');
    return bytes;
  }

  async #adopt(
    session: Handle,
    kind: TokenKeyKind,
    keyType: KeyType,
    name: KeyName,
    reference: Uint8Array,
    wanted: TokenKeyName,
  ): Promise<KeyMadeInToken | NotMade> {
    const by: Attribute =
      'label' in wanted
        ? { type: a.label, value: Buffer.from(wanted.label) }
        : { type: a.id, value: Buffer.from(wanted.idHex, 'hex') };
    const objectClass = kind.pair ? objectClasses.privateKey : objectClasses.secretKey;
    const found = this.#all(session, [{ type: a.class, value: objectClass }, by], 2);
    const [key] = found;
    if (key === undefined) return notMade('BadRequest', 'adopt: the token has no such key');
    if (found.length > 1) return notMade('BadRequest', 'adopt: several keys of the token have this name');
    const label = this.#value(session, key, a.label)?.toString() ?? '';
    if (label.startsWith(ownLabelPrefix)) return alreadyTaken;
    const refusal = this.#refusalOf(session, key, kind, keyType);
    if (refusal !== undefined) return refusal;
    const id = this.#value(session, key, a.id);
    if (id === undefined || id.length === 0) return notMade('BadRequest', 'adopt: the key has no CKA_ID');
    // From now on its id alone names it: of two keys with one, the other might be used, or destroyed.
    const named = (one: number) => this.#byId(session, one, id, 2).length;
    if (
      named(objectClasses.privateKey) + named(objectClasses.secretKey) > 1 ||
      named(objectClasses.publicKey) > 1
    )
      return notMade('BadRequest', 'adopt: several keys of the token have this CKA_ID');
    const classAndId = Buffer.concat([Buffer.of(objectClass), id]);
    if (this.#all(session, adoptionTemplate({ type: a.value, value: classAndId }), 1).length > 0)
      return alreadyTaken;
    const publicKey = kind.pair ? await this.#publicOf(session, keyType, key, id) : new Uint8Array(0);
    if (publicKey === undefined)
      return notMade('BadRequest', 'adopt: the token does not have the public key beside it');
    await this.#generateWrapping(session, kind, name.id, `${ownLabelPrefix}${partIn(reference)}`);
    this.#token.cryptoki.C_CreateObject(session, [
      ...adoptionTemplate({ type: a.value, value: classAndId }),
      { type: a.label, value: name.id.toString('hex') },
    ]);
    return { kind: 'made', publicKey };
  }

  #refusalOf(session: Handle, key: Handle, kind: TokenKeyKind, keyType: KeyType): NotMade | undefined {
    const { keyType: own } = this.#described(session, key, kind.pair);
    if (own !== keyType && !(own !== undefined && sameSecret(own, keyType)))
      return notMade('BadRequest', 'adopt: the key is of another type than alg');
    if (!this.#flag(session, key, a.sensitive) || this.#flag(session, key, a.extractable))
      return notMade(
        'BadRequest',
        'adopt: the key can leave the token: it has to be sensitive and not extractable',
      );
    if (!this.#flag(session, key, a.token))
      return notMade('BadRequest', 'adopt: the key is only a session key');
    const uses = kind.uses.flatMap((use) => attributesOfUse[use]);
    return uses.every((use) => this.#flag(session, key, use))
      ? undefined
      : notMade('BadRequest', 'adopt: the attributes of the key do not permit its use');
  }

  async #publicOf(
    session: Handle,
    keyType: KeyType,
    key: Handle,
    id: Buffer,
  ): Promise<Uint8Array | undefined> {
    const [beside] = this.#byId(session, objectClasses.publicKey, id);
    // A private RSA key has its modulus, and some tokens keep the point of a curve with it.
    const holder = beside ?? key;
    const bytes = publicKeyIn(keyType, (type) => this.#value(session, holder, type));
    return bytes && (await this.#proven(session, keyType, holder, key));
  }

  #destroy(session: Handle, { origin, id }: KeyName): void {
    const adopted = origin === 'adopted' ? this.#adoption(session, id) : undefined;
    if (origin === 'adopted' && adopted === undefined) return;
    const destroyAll = (classes: readonly number[], own: Buffer) => {
      for (const objectClass of classes)
        for (const object of this.#byId(session, objectClass, own, maxObjects))
          this.#token.cryptoki.C_DestroyObject(session, object);
    };
    // Of an adopted key nothing but itself and its public key: others may have made keys of its id since.
    if (adopted === undefined) destroyAll(keyClasses, id);
    else destroyAll([adopted.class, objectClasses.publicKey], adopted.id);
    destroyAll(keyClasses, wrappingIdOf(id));
    if (adopted !== undefined) this.#token.cryptoki.C_DestroyObject(session, adopted.handle);
  }

  #discard(session: Handle, name: KeyName): void {
    if (name.origin === 'made') {
      this.#destroy(session, name);
      return;
    }
    for (const object of this.#byId(session, objectClasses.secretKey, wrappingIdOf(name.id), maxObjects))
      this.#token.cryptoki.C_DestroyObject(session, object);
    const adoption = this.#adoption(session, name.id);
    if (adoption !== undefined) this.#token.cryptoki.C_DestroyObject(session, adoption.handle);
  }

  #search(session: Handle, { origin, id }: KeyName): FoundKey | undefined {
    const adopted = origin === 'adopted' ? this.#adoption(session, id) : undefined;
    if (origin === 'adopted' && adopted === undefined) return undefined;
    const own = adopted?.id ?? id;
    const classes =
      adopted === undefined ? [objectClasses.privateKey, objectClasses.secretKey] : [adopted.class];
    for (const objectClass of classes) {
      const [handle] = this.#byId(session, objectClass, own);
      if (handle === undefined) continue;
      const pair = objectClass === objectClasses.privateKey;
      const [wrapping] = pair ? [] : this.#byId(session, objectClasses.secretKey, wrappingIdOf(id));
      return { handle, ...this.#described(session, handle, pair), wrapping };
    }
    return undefined;
  }

  #byId(session: Handle, objectClass: number, id: Buffer, most = 1): Handle[] {
    const template = [
      { type: a.class, value: objectClass },
      { type: a.id, value: id },
    ];
    return this.#all(session, template, most);
  }

  /** The adopted key behind a name. */
  #adoption(
    session: Handle,
    id: Buffer,
  ): { readonly handle: Handle; readonly class: number; readonly id: Buffer } | undefined {
    const [handle] = this.#all(session, adoptionTemplate({ type: a.label, value: id.toString('hex') }), 1);
    const value = handle && this.#value(session, handle, a.value);
    if (handle === undefined || value === undefined || value.length < 2) return undefined;
    return { handle, class: value[0] as number, id: value.subarray(1) };
  }

  #all(session: Handle, template: readonly Attribute[], most: number): Handle[] {
    const { cryptoki } = this.#token;
    cryptoki.C_FindObjectsInit(session, template);
    let found: Handle[] = [];
    try {
      found = cryptoki.C_FindObjects(session, most);
    } finally {
      cryptoki.C_FindObjectsFinal(session);
    }
    // A token shows private objects to a login only, and none where it is away, and gives no error in either case.
    if (found.length === 0) {
      requireLogin(cryptoki, session);
      this.#token.probe();
    }
    return found;
  }

  #described(session: Handle, key: Handle, pair: boolean): Pick<FoundKey, 'tokenKeyType' | 'keyType'> {
    const number = (type: number) => numberIn(this.#value(session, key, type));
    const tokenKeyType = number(a.keyType) ?? -1;
    const same = (wanted: Attribute): boolean => {
      if (wanted.type === a.publicExponent) return true;
      if (wanted.type === a.modulusBits)
        return (this.#value(session, key, a.modulus)?.length ?? 0) * 8 === wanted.value;
      const own = this.#value(session, key, wanted.type);
      if (own === undefined) return false;
      return Buffer.isBuffer(wanted.value)
        ? own.equals(wanted.value) || own.equals(otherEd25519)
        : numberIn(own) === wanted.value;
    };
    const entry = Object.entries(tokenKeyKinds).find(
      ([, kind]) => kind.pair === pair && kind.tokenKeyType === tokenKeyType && kind.parameters.every(same),
    );
    return { tokenKeyType, keyType: entry === undefined ? undefined : (Number(entry[0]) as KeyType) };
  }

  #value(session: Handle, object: Handle, type: number): Buffer | undefined {
    try {
      return this.#token.cryptoki.C_GetAttributeValue(session, object, [{ type }])[0]?.value;
    } catch (error) {
      // No such attribute, or a secret one.
      if (codeOf(error) === attributeSensitive || codeOf(error) === attributeTypeInvalid) return undefined;
      throw error;
    }
  }

  #flag(session: Handle, object: Handle, type: number): boolean {
    return this.#value(session, object, type)?.[0] === 1;
  }
}

const notKept = notMade('Unsupported', 'this backend holds no keys of this alg');
const notProven = 'adopt: the private key of the token does not sign for the public key beside it';
const alreadyTaken = notMade('Conflict', 'adopt: this key of the token is taken already');
const trialMessage = Buffer.from('does this private key belong to this public key?');
const firstSchemes = new Map(
  registry.flatMap(({ components }) => components.map((each) => [each.keyType, each.schemes[0]] as const)),
);
/** The OID 1.3.101.112, in place of the name of the curve. */
const otherEd25519 = Buffer.from('06032b6570', 'hex');
const attributeSensitive = 0x11;
const attributeTypeInvalid = 0x12;
/** Of one CKA_ID: a pair, and some to spare. */
const maxObjects = 16;
const keyClasses = [objectClasses.privateKey, objectClasses.publicKey, objectClasses.secretKey];

/** AES keys are of one type, whatever they are for. */
function sameSecret(one: KeyType, other: KeyType): boolean {
  const aes: readonly KeyType[] = [keyTypes['aes-256-gcm'], keyTypes['aes-256-kwp']];
  return aes.includes(one) && aes.includes(other);
}

export function referenceText(reference: Uint8Array): string {
  return Buffer.from(reference.buffer, reference.byteOffset, reference.length).toString('latin1');
}

/** The versioned kid and the part. */
export function partIn(reference: Uint8Array): string {
  return Buffer.from(parseKeyReference(reference)?.aad ?? []).toString();
}

/** CK_ULONG as the machine has it. */
function numberIn(value: Buffer | undefined): number | undefined {
  if (value?.length === 8) return Number(value.readBigUInt64LE());
  return value?.length === 4 ? value.readUInt32LE() : undefined;
}

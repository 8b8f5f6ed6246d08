import { closeSync, constants, fstatSync, openSync, readFileSync, statSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { type Static, Type } from '@sinclair/typebox';
import { TypeCompiler, ValueErrorType } from '@sinclair/typebox/compiler';
import type { PeerUser } from '../../auth/peer-users.ts';
import { maxFileCharacters, parseSettings } from '../../config/settings-file.ts';
import { errorCode, readPrivateFile } from '../../core/private-file.ts';
import type { Scope } from '../../core/scope.ts';
import { judgeSecretFile, type SecretRule } from '../../core/secret-file.ts';
import { StartError } from '../../core/start-error.ts';
import { isWeakKey } from '../../operations/deks/weak-key.ts';

/** The configuration of data encryption keys as `--config` names it: startup secrets, and who may call. */
export interface DekConfigFile {
  /** 32 bytes; the caller wipes them. It seals the KEKs, and is none. */
  readonly masterKey: Uint8Array;
  /** Where it is, for messages. */
  readonly place: string;
  /** Undefined: whoever the permissions of the socket let in. */
  readonly users: readonly PeerUser[] | undefined;
  readonly allowPlainKek: boolean;
}

const role = Type.Union([Type.Literal('encrypt'), Type.Literal('decrypt'), Type.Literal('admin')]);
type Role = Static<typeof role>;

/** Making a DEK is a part of encrypting: a database makes one when it opens a thread. */
const scopesOf: Readonly<Record<Role, readonly Scope[]>> = {
  encrypt: ['kms:create', 'kms:read', 'kms:encrypt', 'kms:wrap'],
  decrypt: ['kms:read', 'kms:decrypt', 'kms:unwrap'],
  admin: ['kms:create', 'kms:read', 'kms:rotate', 'kms:destroy', 'kms:audit'],
};
export const everyRole: ReadonlySet<Scope> = new Set(Object.values(scopesOf).flat());

const uidLimit = 2 ** 32 - 2;
const storedShape = Type.Object(
  {
    master_key_hex: Type.Optional(Type.String({ pattern: '^[0-9a-fA-F]{64}$' })),
    master_key_file: Type.Optional(Type.String({ minLength: 1 })),
    allowed_uids: Type.Optional(
      Type.Array(
        Type.Object(
          {
            uid: Type.Integer({ minimum: 0, maximum: uidLimit }),
            roles: Type.Array(role, { minItems: 1, uniqueItems: true }),
          },
          { additionalProperties: false },
        ),
        { maxItems: 1_024 },
      ),
    ),
    allow_plain_kek: Type.Optional(Type.Boolean()),
  },
  { additionalProperties: false },
);
const shape = TypeCompiler.Compile(storedShape);

/** Throws a StartError that names the member and never its value. */
export function readDekConfig(path: string, rule: SecretRule): DekConfigFile {
  const { members, keys } = membersIn(path, rule);
  const { master_key_hex: hex, master_key_file: file, allowed_uids: allowed } = members;
  if ((hex === undefined) === (file === undefined))
    throw new StartError(`${path}: exactly one of master_key_hex and master_key_file has to stand there`);
  const place = file === undefined ? `master_key_hex of ${path}` : resolve(dirname(path), keys.putBack(file));
  const masterKey = file === undefined ? keys.named(hex as string) : secretKeyIn(place, rule);
  if (masterKey === undefined)
    throw new StartError(`${path}: master_key_hex has to stand there as 64 digits, without escapes`);
  if (isWeakKey(masterKey))
    throw new StartError(
      `${place} is no random key: its bytes are all equal, or count; openssl rand -hex 32`,
    );
  const uids = allowed?.map(({ uid }) => uid) ?? [];
  if (new Set(uids).size !== uids.length) throw new StartError(`${path}: allowed_uids names a uid twice`);
  return {
    ...{ masterKey, place, allowPlainKek: members.allow_plain_kek ?? false },
    users: allowed?.map(({ uid, roles }) => ({
      uid,
      scopes: new Set(roles.flatMap((each) => scopesOf[each])),
    })),
  };
}

function membersIn(path: string, rule: SecretRule) {
  const content = contentOf(path, rule);
  const keys = new TakenKeys(content);
  const parsed = parseSettings(`${path}.yaml`, content.toString());
  if ('problem' in parsed) throw new StartError(`--config ${path} ${parsed.problem}`);
  if (shape.Check(parsed.members)) return { members: parsed.members, keys };
  throw new StartError(`--config ${path}: ${wrongIn(parsed.members)}`);
}

/** Names the place and what has to stand there, and never what does. */
function wrongIn(members: unknown): string {
  const error = shape.Errors(members).First();
  const place = error?.path.slice(1).replaceAll('/', '.') ?? '';
  const [, ofUser] = /^allowed_uids\.\d+(?:\.(uid|roles))?/.exec(place) ?? [];
  if (error?.type === ValueErrorType.ObjectAdditionalProperties)
    return place.startsWith('allowed_uids.')
      ? `${place} is unknown: a user is {uid, roles}`
      : `${place} is unknown: members are ${Object.keys(storedShape.properties).join(', ')}`;
  return `${place} has to be ${accepted[ofUser ?? place] ?? 'a user: {uid, roles}'}`;
}

const accepted: Readonly<Record<string, string>> = {
  master_key_hex: '64 hexadecimal digits in quotes: openssl rand -hex 32',
  master_key_file: 'a path',
  allowed_uids: 'a list of at most 1024 users: {uid, roles}',
  uid: 'the number of a user: id -u NAME',
  roles: 'a list of encrypt, decrypt and admin, each once at most',
  allow_plain_kek: 'true or false',
};

function contentOf(path: string, rule: SecretRule): Buffer {
  let file: number | undefined;
  try {
    file = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const stat = fstatSync(file);
    // A pipe would hold the start up, and a device may have no end.
    if (!stat.isFile()) throw new StartError(`--config ${path} is not a regular file`);
    const problem = judgeSecretFile(path, rule, stat);
    if (problem !== undefined) throw new StartError(problem);
    if (stat.size > maxFileCharacters)
      throw new StartError(`--config ${path} has more than ${maxFileCharacters} bytes`);
    return readFileSync(file);
  } catch (cause) {
    if (cause instanceof StartError) throw cause;
    const code = errorCode(cause);
    throw new StartError(
      code === 'ENOENT'
        ? `--config ${path}: there is no such file`
        : `--config ${path} cannot be read (${code})`,
    );
  } finally {
    if (file !== undefined) closeSync(file);
  }
}

/**
 * Runs of 64 hexadecimal digits, taken out of a file before it is text: a string stays in memory, and nobody can wipe it. Each
 * leaves a name of 64 digits in its place.
 */
class TakenKeys {
  readonly #keys: Buffer[] = [];

  constructor(content: Buffer) {
    for (let at = 0; at < content.length; ) {
      let end = at;
      while (end < content.length && digitOf(content[end] as number) !== undefined) end++;
      const key = end - at === 64 ? decodedHex(content, at) : undefined;
      if (key !== undefined) {
        const name = `f${String(this.#keys.length).padStart(63, '0')}`;
        this.#keys.push(key);
        content.write(name, at, 'latin1');
      }
      at = end + 1;
    }
  }

  /** Undefined where the digits were not written as such. */
  named(name: string): Buffer | undefined {
    return name.startsWith('f') ? this.#keys[Number(name.slice(1))] : undefined;
  }

  /** A path may have as many digits for a name. */
  putBack(text: string): string {
    return text.replace(/f0{58}[0-9]{5}/g, (name) => this.named(name)?.toString('hex') ?? name);
  }
}

/** 32 bytes of 64 digits from there on, and no text in between; undefined where some are none. */
function decodedHex(text: Buffer, from: number): Buffer | undefined {
  const key = Buffer.alloc(32);
  for (let n = 0; n < 32; n++) {
    const [high, low] = [text[from + 2 * n] as number, text[from + 2 * n + 1] as number].map(digitOf);
    if (high === undefined || low === undefined) return undefined;
    key[n] = 16 * high + low;
  }
  return key;
}

const bufferOver = ({ buffer, byteOffset, length }: Uint8Array) => Buffer.from(buffer, byteOffset, length);

function digitOf(byte: number): number | undefined {
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30;
  const letter = byte | 0x20;
  return letter >= 0x61 && letter <= 0x66 ? letter - 0x57 : undefined;
}

/** 32 bytes, or their hex and a line end. */
export function secretKeyIn(path: string, rule: SecretRule): Buffer {
  const size = statSync(path, { throwIfNoEntry: false })?.size;
  const length = size === 64 || size === 65 ? size : 32;
  const read = readPrivateFile(path, length, rule);
  if (!read.ok) {
    // Permissions and the like are told as they are: the length is none of those that a key has.
    const isOfLength = size === undefined || size === length;
    throw new StartError(isOfLength ? read.problem : noKey(path));
  }
  const content = bufferOver(read.bytes);
  if (length === 32) return content;
  const found = length === 64 || content[64] === 0x0a ? decodedHex(content, 0) : undefined;
  content.fill(0);
  if (found === undefined) throw new StartError(noKey(path));
  return found;
}

const noKey = (path: string) => `${path} must hold 32 bytes, or 64 hexadecimal digits and no more`;

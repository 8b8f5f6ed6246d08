import { readFileSync, statSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { type Static, Type } from '@sinclair/typebox';
import { TypeCompiler } from '@sinclair/typebox/compiler';
import type { PeerUser } from '../../auth/peer-users.ts';
import { parseSettings } from '../../config/settings-file.ts';
import { readPrivateFile } from '../../core/private-file.ts';
import type { Scope } from '../../core/scope.ts';
import { judgeSecretFile, type SecretRule } from '../../core/secret-file.ts';
import { StartError } from '../../core/start-error.ts';
import { isWeakKey } from '../../operations/deks/given-kek.ts';

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
  const members = membersIn(path, rule);
  const { master_key_hex: hex, master_key_file: file, allowed_uids: allowed } = members;
  if ((hex === undefined) === (file === undefined))
    throw new StartError(`${path}: exactly one of master_key_hex and master_key_file has to stand there`);
  const place = file === undefined ? `master_key_hex of ${path}` : resolve(dirname(path), file);
  const masterKey = file === undefined ? Buffer.from(hex as string, 'hex') : secretKeyIn(place, rule);
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

function membersIn(path: string, rule: SecretRule): Static<typeof storedShape> {
  let text: string;
  try {
    const problem = judgeSecretFile(path, rule, statSync(path));
    if (problem !== undefined) throw new StartError(problem);
    text = readFileSync(path, 'utf8');
  } catch (cause) {
    if (cause instanceof StartError) throw cause;
    throw new StartError(`--config ${path} cannot be read (${(cause as NodeJS.ErrnoException).code})`);
  }
  const parsed = parseSettings(`${path}.yaml`, text);
  if ('problem' in parsed) throw new StartError(`--config ${path} ${parsed.problem}`);
  if (shape.Check(parsed.members)) return parsed.members;
  const place = shape.Errors(parsed.members).First()?.path.slice(1).replaceAll('/', '.') ?? '';
  throw new StartError(
    `--config ${path}: ${place === '' ? 'the file' : place} is unknown, missing or of the wrong type or form`,
  );
}

/** 32 bytes, or their hex and a line end. */
export function secretKeyIn(path: string, rule: SecretRule): Buffer {
  const raw = readPrivateFile(path, 32, rule);
  if (raw.ok) return Buffer.from(raw.bytes);
  for (const length of [64, 65]) {
    const hex = readPrivateFile(path, length, rule);
    const found = hex.ok ? /^([0-9a-fA-F]{64})\n?$/.exec(Buffer.from(hex.bytes).toString('latin1')) : null;
    if (found !== null) return Buffer.from(found[1] as string, 'hex');
  }
  throw new StartError(raw.missing ? raw.problem : `${path} must hold 32 bytes, or 64 hexadecimal digits`);
}

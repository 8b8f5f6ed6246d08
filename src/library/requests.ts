import { blake3 } from '@noble/hashes/blake3.js';
import { digestBytes, type HashName } from '../algorithms/ids.ts';
import { findAlgorithm } from '../algorithms/registry.ts';
import type { GivenInput, SignedInput } from '../algorithms/signed-input.ts';
import { type Usage, usages } from '../algorithms/work-kinds.ts';
import { failure } from '../core/failure.ts';
import { type HybridMode, hybridModes } from '../core/hybrid-mode.ts';
import { auditDurabilities } from '../keys/record.ts';
import type { CreateRequest } from '../operations/create-key.ts';
import type { ChangeName } from '../operations/idempotency.ts';
import type { ListRequest } from '../operations/read-keys.ts';
import type { SignRequest } from '../operations/sign.ts';
import type { VerifyRequest } from '../operations/verify.ts';
import {
  bytes,
  choice,
  items,
  members,
  optionalBytes,
  optionalInteger,
  optionalText,
  required,
  text,
} from './arguments.ts';
import { KmsError } from './errors.ts';

/** A new key. */
export interface NewKeyWish {
  /** 1 to 63 of a-z 0-9 . _ - */
  readonly purpose: string;
  /** A name of the registry, or an alias: `ed25519`, `ml-dsa-65`, `xaes-256-gcm`, … */
  readonly alg: string;
  readonly usages?: readonly Usage[];
  readonly rotateAfterDays?: number;
  readonly keepVersions?: number;
  /** The name of a backend that the settings open; software where it is absent. */
  readonly backend?: string;
  /** What each answer with the key waits for of its record. */
  readonly auditDurability?: (typeof auditDurabilities)[number];
  /** UUID: the same call again makes no second key. */
  readonly opId?: string;
}

/**
 * What is signed: exactly one of these. `payload` of any length is hashed by BLAKE3-256, and the 32 bytes are signed, as over
 * HTTP; `message` (at most 64 KiB) is signed as it is; `digest` is one by `hash`; `mu` is that of ML-DSA (64 bytes).
 */
export interface SignedForms {
  readonly payload?: Uint8Array;
  readonly message?: Uint8Array;
  readonly digest?: Uint8Array;
  readonly hash?: HashName;
  readonly mu?: Uint8Array;
  /** At most 255 bytes; of ML-DSA and composites. */
  readonly context?: Uint8Array;
}

export interface SignWish extends SignedForms {
  /** One key, or several that sign together. */
  readonly kid: string | readonly string[];
  /** The key's own algorithm, or one of its schemes. */
  readonly alg?: string;
  readonly mode?: HybridMode;
  readonly opId?: string;
}

export interface VerifyWish extends SignedForms {
  readonly signatures: readonly {
    readonly kid: string;
    readonly alg?: string;
    readonly signature: Uint8Array;
  }[];
  readonly mode?: HybridMode;
}

export interface ListWish {
  readonly purpose?: string;
  readonly alg?: string;
  /** Of the page before. */
  readonly cursor?: string;
  /** 1 to 1,000; 100 where it is absent. */
  readonly limit?: number;
}

const formNames = ['payload', 'message', 'digest', 'hash', 'mu', 'context'] as const;

function refused(hint: string): never {
  throw new KmsError(failure('BadRequest', hint));
}

function signedInput(given: { readonly [Name in (typeof formNames)[number]]?: unknown }): SignedInput {
  const payload = optionalBytes('payload', given.payload);
  const message = optionalBytes('message', given.message);
  const digest = optionalBytes('digest', given.digest);
  const mu = optionalBytes('mu', given.mu);
  const context = optionalBytes('context', given.context);
  const hash = choice('hash', given.hash, Object.keys(digestBytes) as HashName[]);
  if ([payload, message, digest, mu].filter((each) => each !== undefined).length !== 1)
    return refused('give exactly one of payload, message, digest and mu');
  if ((hash === undefined) !== (digest === undefined)) return refused('hash goes with digest');
  const rest = { hash, context, payloadBlake3: undefined };
  if (message !== undefined) return { form: 'message', bytes: message, ...rest };
  if (digest !== undefined) return { form: 'digest', bytes: digest, ...rest };
  if (mu !== undefined) return { form: 'mu', bytes: mu, ...rest };
  // Before anything is awaited, so that whoever changes the bytes afterwards changes nothing. A mebibyte takes some 3 ms.
  const payloadBlake3 = Buffer.from(blake3(payload as Uint8Array)).toString('hex');
  if (context === undefined) return payloadBlake3;
  const withContext: GivenInput = {
    ...{ form: 'message', bytes: Buffer.from(payloadBlake3, 'hex') },
    ...{ hash: undefined, context, payloadBlake3 },
  };
  return withContext;
}

export function signRequest(options: unknown): SignRequest {
  const given = members('sign', options, ['kid', 'alg', 'mode', 'opId', ...formNames]);
  const { kid } = given;
  return {
    kids: typeof kid === 'string' ? [kid] : items('kid', kid, 16, text),
    input: signedInput(given),
    alg: optionalText('alg', given.alg),
    mode: choice('mode', given.mode, hybridModes),
    opId: optionalText('opId', given.opId),
    receipts: true,
  };
}

export function verifyRequest(options: unknown): VerifyRequest {
  const given = members('verify', options, ['signatures', 'mode', ...formNames]);
  return {
    input: signedInput(given),
    signatures: items('signatures', given.signatures, 16, (name, each) => {
      const { kid, alg, signature } = members(name, each, ['kid', 'alg', 'signature']);
      return {
        kid: text(`${name}.kid`, kid),
        alg: optionalText(`${name}.alg`, alg),
        signature: bytes(`${name}.signature`, signature),
      };
    }),
    mode: choice('mode', given.mode, hybridModes),
    window: undefined,
  };
}

export function createRequest(options: unknown): CreateRequest {
  const given = members('create', options, [
    ...['purpose', 'alg', 'usages', 'rotateAfterDays', 'keepVersions'],
    ...['backend', 'auditDurability', 'opId'],
  ]) as { readonly [Name in keyof NewKeyWish]?: unknown };
  const afterDays = optionalInteger('rotateAfterDays', given.rotateAfterDays);
  const keepVersions = optionalInteger('keepVersions', given.keepVersions);
  if (afterDays === undefined && keepVersions !== undefined)
    return refused('keepVersions goes with rotateAfterDays');
  if (afterDays === 0 || keepVersions === 0)
    return refused('rotateAfterDays and keepVersions are at least 1');
  const opId = optionalText('opId', given.opId);
  return {
    tenant: undefined,
    purpose: text('purpose', given.purpose),
    alg: text('alg', given.alg),
    usages:
      given.usages === undefined
        ? undefined
        : items('usages', given.usages, usages.length, (name, each) =>
            required(name, choice(name, each, usages)),
          ),
    auditDurability: choice('auditDurability', given.auditDurability, auditDurabilities),
    backend: optionalText('backend', given.backend),
    policy: undefined,
    ...(afterDays === undefined
      ? undefined
      : { rotation: { afterDays, ...(keepVersions === undefined ? {} : { keepVersions }) } }),
    name: changeName(opId),
  };
}

const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

/** The name of a change, from the options of a call. */
export function changeNamed(options: unknown): ChangeName | undefined {
  return changeName(optionalText('opId', members('options', options, ['opId']).opId));
}

function changeName(opId: string | undefined): ChangeName | undefined {
  if (opId === undefined) return undefined;
  return uuid.test(opId) ? { id: opId } : refused('opId is a UUID');
}

export function listRequest(options: unknown): ListRequest {
  const given = members('keys', options, ['purpose', 'alg', 'cursor', 'limit']);
  const [purpose, cursor] = [optionalText('purpose', given.purpose), optionalText('cursor', given.cursor)];
  const [alg, limit] = [optionalText('alg', given.alg), optionalInteger('limit', given.limit)];
  const algorithm = alg === undefined ? undefined : findAlgorithm(alg);
  if (alg !== undefined && algorithm === undefined) throw new KmsError(failure('Unsupported', 'unknown alg'));
  return {
    ...(purpose === undefined ? undefined : { purpose }),
    ...(algorithm === undefined ? undefined : { algorithm }),
    ...(cursor === undefined ? undefined : { cursor }),
    ...(limit === undefined ? undefined : { limit }),
  };
}

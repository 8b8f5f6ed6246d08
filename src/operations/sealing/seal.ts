import { registry } from '../../algorithms/registry.ts';
import { ok, type Result, refuse } from '../../core/result.ts';
import type { Caller } from '../../core/scope.ts';
import type { KeyHandle } from '../../keys/keyring.ts';
import { formatId, isPurpose, parseKid } from '../../keys/kid.ts';
import { sealingLabel, uuidOf } from '../../keys/labels.ts';
import { notAllowed } from '../key-work.ts';
import {
  type CryptoOperation,
  type OperationParts,
  type Step,
  singlePlan,
  type WorkOutcome,
} from '../operation.ts';
import { finishOpened, type Opened, outputsOf } from './encrypt.ts';
import { countEncryption, doesNotOpen, notOpened, type OneKeyPlan, planWithKey } from './one-key.ts';
import { parseSealed, type Sealed, sealedHeader } from './sealed-form.ts';

export interface SealRequest {
  readonly purpose: string;
  /** At most 64 KiB. */
  readonly plaintext: Uint8Array;
  /** Authenticated with it, and not part of it. */
  readonly aad: Uint8Array;
}

export interface SealAnswer {
  /** Header and body: see sealed-form.ts. */
  readonly sealed: Uint8Array;
}

export interface UnsealRequest {
  readonly sealed: Uint8Array;
  readonly aad: Uint8Array;
}

/** Seals under the key of a tenant and purpose, which is made at its first use. */
export function sealOperation(parts: OperationParts): CryptoOperation<SealRequest, SealAnswer> {
  return {
    ...{ kind: 'crypto', batch: false, name: 'seal', scope: 'kms:wrap' },
    subjects: ({ purpose }) => ({ alg: 'none', purpose }),
    facts: ({ purpose }) => ({ purpose }),
    plan: (request, caller) => singlePlan(planSeal(parts, request, caller), finishSeal),
  };
}

/** Opens what `seal` sealed by the version that its header names. BadRequest, with one text: it does not open. */
export function unsealOperation(parts: OperationParts): CryptoOperation<UnsealRequest, Opened> {
  return {
    ...{ kind: 'crypto', batch: false, name: 'unseal', scope: 'kms:unwrap' },
    subjects: ({ sealed }) => {
      const form = parseSealed(sealed);
      return form === undefined ? [] : [form.kid];
    },
    plan: (request, caller) => singlePlan(planUnseal(parts, request, caller), finishOpened),
  };
}

interface SealPlan extends OneKeyPlan {
  readonly header: Uint8Array;
}

/** The first that is allowed here seals. The registry begins with the one whose random nonces nobody has to count. */
const candidates = registry.filter(({ kind }) => kind === 'aead');

/** A key that was destroyed is followed by the next. More generations than this are no way to live. */
const maxGenerations = 64;

const allDestroyed = refuse('Conflict', 'too many keys of this purpose were destroyed');
const badPurpose = refuse('BadRequest', 'purpose is not a purpose');

async function planSeal(
  parts: OperationParts,
  { purpose, plaintext, aad }: SealRequest,
  caller: Caller,
): Promise<Result<SealPlan>> {
  if (!isPurpose(purpose)) return badPurpose;
  const id = await idOfSealingKey(parts, purpose, caller);
  if (!id.ok) return id;
  let header: Uint8Array = Buffer.alloc(0);
  const planned = await planWithKey(parts, caller, id.value, {
    kind: () => 'seal',
    item(handle) {
      header = sealedHeader(handle.version.kid);
      return ok({
        inputs: [plaintext, infoOf(handle), Buffer.concat([header, aad])],
        pricedBytes: plaintext.length,
      });
    },
    ready: countEncryption,
  });
  return planned.ok ? ok({ ...planned.value, header }) : planned;
}

/** Found, or made: the uuid follows from tenant and purpose, so that first uses at the same time make one key. */
async function idOfSealingKey(
  parts: OperationParts,
  purpose: string,
  { tenant, actor }: Caller,
): Promise<Result<string>> {
  const algorithm = candidates.find(({ name }) => parts.allowedAlgorithms.has(name));
  if (algorithm === undefined) return notAllowed;
  for (let generation = 0; generation < maxGenerations; generation++) {
    const uuid = uuidOf('seal', tenant, purpose, algorithm.name, String(generation));
    const id = formatId(tenant, purpose, algorithm, uuid);
    const found = await parts.keyring.find(tenant, id);
    if (found.ok && found.value.head.state === 'destroyed') continue;
    if (found.ok) return ok(id);
    if (found.failure.code !== 'NotFound') return found;
    const tooMany = parts.mayMake(tenant);
    if (tooMany !== undefined) return tooMany;
    const { maxKeysPerTenant } = parts;
    const made = await parts.keyring.create({
      ...{ tenant, actor, purpose, algorithm, maxKeysPerTenant, uuid },
      usages: ['seal', 'unseal'],
    });
    return made.ok ? ok(id) : made;
  }
  return allDestroyed;
}

function finishSeal({ header }: SealPlan, outcome: WorkOutcome): Result<SealAnswer> {
  if (!outcome.ok) return outcome;
  return ok({ sealed: Buffer.concat([header, outputsOf(outcome)[0] as Uint8Array]) });
}

function planUnseal(parts: OperationParts, { sealed, aad }: UnsealRequest, caller: Caller): Step<OneKeyPlan> {
  const form = parseSealed(sealed);
  if (form === undefined || parseKid(form.kid)?.tenant !== caller.tenant) return doesNotOpen;
  const planned = planBody(parts, form, aad, caller);
  return planned instanceof Promise ? planned.then(asUnopened) : asUnopened(planned);
}

function planBody(
  parts: OperationParts,
  { kid, header, body }: Sealed,
  aad: Uint8Array,
  caller: Caller,
): Step<OneKeyPlan> {
  return planWithKey(parts, caller, kid, {
    kind: () => 'unseal',
    item: (handle) =>
      ok({
        inputs: [body, infoOf(handle), Buffer.concat([header, aad])],
        pricedBytes: body.length,
        recorded: [body],
      }),
    ready(work) {
      work.refusal = notOpened;
    },
  });
}

/** A header that was altered names a key that is not there, or one that seals nothing. */
function asUnopened<T>(planned: Result<T>): Result<T> {
  const isAltered = !planned.ok && ['NotFound', 'BadRequest', 'Unsupported'].includes(planned.failure.code);
  return isAltered ? doesNotOpen : planned;
}

function infoOf({ head, version }: KeyHandle): Uint8Array {
  const { tenant, purpose, id } = head;
  return Buffer.from(sealingLabel(tenant, purpose, id.slice(id.lastIndexOf('/') + 1), version.version));
}

import { type NoteSigner, parseVkey, signatureTypes } from '../../audit/format/note.ts';
import type { AuditRecord } from '../../audit/format/record.ts';
import { encodeBase64 } from '../../core/bytes.ts';
import { type Result, refuse } from '../../core/result.ts';
import { recordUuid } from '../../events/record-uuid.ts';
import { canonicalJson } from '../../keys/canonical-json.ts';
import { errorCodeOfResult, type ReceiptErrorCode } from './facts.ts';

/** The module that gives receipts, by the number that it has in ZeroUI. */
const issuingModule = 'M33';

/** A call and what became of it. Members that a call does not have are null. */
export interface Receipt {
  readonly receipt_id: string;
  /** RFC 3339, UTC, with milliseconds. */
  readonly ts: string;
  readonly tenant_id: string;
  readonly environment: string | null;
  readonly plane: string | null;
  readonly module: string;
  readonly operation: string;
  readonly kms_context: {
    readonly key_id: string | null;
    readonly operation_type: OperationType;
    readonly algorithm: string | null;
    readonly key_size_bits: number | null;
    /** Of a verification: that it was done, whatever came of it. */
    readonly success: boolean;
    readonly error_code: ReceiptErrorCode | null;
  };
  readonly requesting_module: string;
  /** The record that it is made from: its index, and the name of the log. */
  readonly audit: { readonly index: number; readonly origin: string };
}

export interface SignedReceipt extends Receipt {
  readonly signature: {
    readonly algorithm: 'Ed25519';
    /** Name and id of the verifier key: the beginning of its vkey. */
    readonly key: string;
    /** Of the RFC 8785 JSON of the receipt without this member; base64. */
    readonly value: string;
  };
}

export type OperationType = 'key_lifecycle' | 'cryptographic' | 'trust_store' | 'delivery' | 'query';

const operationTypes: readonly (readonly [RegExp, OperationType])[] = [
  [/(?:^|_)(?:create|generate|rotate|revoke|archive|destroy|import|derive)/, 'key_lifecycle'],
  [/(?:^|_)(?:sign|verify|encrypt|decrypt|mac|wrap|unwrap|rewrap|datakey|seal|unseal)/, 'cryptographic'],
  [/trust|anchor|certificate|crl|enrol/, 'trust_store'],
  [/webhook|event/, 'delivery'],
];

const isReading = /(?:^|_)(?:list|read|get|receipts?)(?:_|$)/;

export function operationTypeOf(operation: string): OperationType {
  if (isReading.test(operation)) return 'query';
  return operationTypes.find(([form]) => form.test(operation))?.[1] ?? 'query';
}

/** The bits of a key, as the names of algorithms have them. */
function keySizeBits(alg: string): number | undefined {
  const named = /^(?:rsa|aes|mlkem|ml-kem)-?(\d+)/.exec(alg)?.[1] ?? /p(256|384|521)/.exec(alg)?.[1];
  if (named !== undefined) return Number(named);
  return fixedBits[alg.split('-')[0] as string];
}

const fixedBits: Readonly<Record<string, number | undefined>> = {
  ed25519: 256,
  chacha20: 256,
  xchacha20: 256,
  hmac: 256,
};

/** The receipt of a call, from the record that the log has of it. */
export function receiptOf(index: number, origin: string, record: AuditRecord): Receipt {
  const { data = {}, alg, purpose, result, tenant, ts } = record;
  const text = (name: string) => (data[name] === undefined ? null : String(data[name]));
  const error = errorOf(record);
  return {
    receipt_id: recordUuid(index, record.op_id),
    ts: new Date(Math.floor(ts / 1_000)).toISOString(),
    tenant_id: tenant,
    environment: text('environment'),
    plane: text('plane'),
    module: issuingModule,
    operation: shownOperation(purpose),
    kms_context: {
      key_id: text('key_id'),
      operation_type: operationTypeOf(purpose),
      algorithm: alg === 'none' ? null : alg,
      key_size_bits: keySizeBits(alg) ?? null,
      success: error === undefined && (result === 'ok' || isVerification(purpose)),
      error_code: error ?? null,
    },
    requesting_module: text('module') ?? record.actor,
    audit: { index, origin },
  };
}

/** Operations on keys with a placement have a word before those of others with the same deed, which is of no interest outside. */
const innerWord = 'lifecycle_';

export function shownOperation(name: string): string {
  return name.startsWith(innerWord) ? name.slice(innerWord.length) : name;
}

/** The names that a shown operation can have in the log. */
export function namesOfShown(operation: string): readonly string[] {
  return [operation, `${innerWord}${operation}`];
}

function errorOf({ data, purpose, result }: AuditRecord): ReceiptErrorCode | undefined {
  if (typeof data?.error_code === 'string') return data.error_code as ReceiptErrorCode;
  // What was to be opened does not open.
  if (result === 'invalid' && !isVerification(purpose)) return 'INVALID_REQUEST';
  return errorCodeOfResult(result);
}

function isVerification(operation: string): boolean {
  return /(?:^|_)verify/.test(operation);
}

/**
 * Signed by the log's Ed25519 key, whose signatures follow from what is signed: the same receipt again is the same bytes. What that key
 * signs begins with `{`, so that it is neither a checkpoint nor evidence, which it signs too.
 */
export async function signReceipt(
  receipt: Receipt,
  signers: readonly NoteSigner[],
): Promise<Result<SignedReceipt>> {
  const signer = signers.find(({ vkey }) => typeOf(vkey) === signatureTypes.ed25519);
  if (signer === undefined) return refuse('Internal');
  try {
    const signature = await signer.sign(Buffer.from(canonicalJson(receipt)));
    const key = signer.vkey.split('+', 2).join('+');
    return {
      ok: true,
      value: { ...receipt, signature: { algorithm: 'Ed25519', key, value: encodeBase64(signature) } },
    };
  } catch {
    // The workers have no time for it.
    return refuse('Backpressure', 'too many receipts are asked for', 1_000);
  }
}

function typeOf(vkey: string): number | undefined {
  const parsed = parseVkey(vkey);
  return parsed.ok ? parsed.value.type : undefined;
}

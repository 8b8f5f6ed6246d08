import { randomUUIDv7 } from 'node:crypto';
import { largestDeadlineMs } from '../../admission/admission.ts';
import { decodeBase64, encodeBase64 } from '../../core/bytes.ts';
import type { Cancellation } from '../../core/cancellation.ts';
import { type FailureCode, failures } from '../../core/failure.ts';
import type { Peer } from '../../core/peer.ts';
import { ok, type Result, refuse } from '../../core/result.ts';
import type { Caller } from '../../core/scope.ts';
import { formatKid, isUuid } from '../../keys/kid.ts';
import type { Health } from '../../observe/health.ts';
import type { DekOperations } from '../../operations/deks/operations.ts';
import type { CallNotes, Operation } from '../../operations/operation.ts';
import type { RequestPath } from '../../request-path.ts';
import type {
  KmsV2DecryptRequest,
  KmsV2DecryptResponse,
  KmsV2EncryptRequest,
  KmsV2EncryptResponse,
  KmsV2StatusResponse,
} from './protocol.ts';

export interface KmsV2Parts {
  /** The operations as they are at the call. */
  readonly operations: () => DekOperations;
  readonly requestPath: RequestPath;
  readonly health: Health;
}

/** A call, by its connection and headers. */
export interface KmsV2Call {
  readonly peer: Peer;
  /** Time until the caller's deadline, milliseconds. Undefined: there is none. */
  readonly leftMs: number | undefined;
  readonly cancellation: Cancellation;
  /** False: its user has used up its refusals, and no further one is recorded. */
  withinAllowance(): boolean;
}

/** The KEK wraps at most as many bytes at once. Kubernetes sends 32. */
const maxPlaintextBytes = 65_536;
/** Room for a wrapping of as much: version[5], nonce[12] and tag[16]. */
const maxCiphertextBytes = maxPlaintextBytes + 64;

/** The AAD keeps apart: /unwrap opens nothing of a cluster, and Decrypt nothing of /wrap. */
const aad = Buffer.from('k8s.io/kms/apis/v2');
const noBody = new Uint8Array(0);

const tooLong = refuse('TooLarge', `plaintext is longer than ${maxPlaintextBytes} bytes`);
const noPlaintext = refuse('BadRequest', 'plaintext is empty');
const noCiphertext = refuse('BadRequest', 'ciphertext: this service has not made it');
const annotated = refuse('BadRequest', 'annotations: this service makes none');
const past = refuse('Timeout');

/** Refusals that concern the service and not the call. */
const unhealthy: ReadonlySet<FailureCode> = new Set([
  'StoreUnavailable',
  'AuditUnavailable',
  'NotReady',
  'Internal',
]);

/** Status, Encrypt and Decrypt over the KEK of data encryption keys, by the request path of every call. */
export class KmsV2Calls {
  readonly #parts: KmsV2Parts;
  /** The key id that was seen last: a Status without one is of no use to Kubernetes. */
  #keyId = '';

  constructor(parts: KmsV2Parts) {
    this.#parts = parts;
  }

  /** Reports the problem that keeps Encrypt from working. Refusals are of the call itself. */
  async status(call: KmsV2Call): Promise<Result<KmsV2StatusResponse>> {
    const listed = await this.#ask(call, '', this.#parts.operations().kek_list, ok({}));
    if (!listed.ok && !unhealthy.has(listed.failure.code)) return listed;
    const current = listed.ok ? listed.value.keks.find(({ state }) => state === 'current') : undefined;
    if (current !== undefined) this.#keyId = formatKid(current.kekId, current.kekVersion);
    const { missing, degraded } = this.#parts.health.readiness();
    // A store that takes no writes keeps no counts, and so nothing is encrypted.
    const problems = [...missing, ...degraded.filter((name) => name === 'store')];
    if (!listed.ok) problems.push(failures[listed.failure.code].message);
    else if (current === undefined) problems.push('the key encryption key is not made yet');
    const healthz = problems.length === 0 ? 'ok' : `not ready: ${problems.join(', ')}`;
    return ok({ version: 'v2', healthz, key_id: this.#keyId });
  }

  async encrypt(
    { plaintext, uid }: KmsV2EncryptRequest,
    call: KmsV2Call,
  ): Promise<Result<KmsV2EncryptResponse>> {
    const request = () => {
      if (plaintext.length === 0) return noPlaintext;
      return plaintext.length > maxPlaintextBytes ? tooLong : ok({ plaintext, aad });
    };
    const wrapped = await this.#ask(call, uid, this.#parts.operations().kek_wrap, request());
    if (!wrapped.ok) return wrapped;
    const { kekId, kekVersion } = wrapped.value;
    const ciphertext = decodeBase64(wrapped.value.wrapped, maxCiphertextBytes) as Uint8Array;
    return ok({ ciphertext, key_id: formatKid(kekId, kekVersion) });
  }

  /** Opens a ciphertext. BadRequest, always with the same text: it is not of this service, or of another key. */
  async decrypt(
    { ciphertext, uid, key_id: kid, annotations }: KmsV2DecryptRequest,
    call: KmsV2Call,
  ): Promise<Result<KmsV2DecryptResponse>> {
    const hasAnnotations = Object.keys(annotations).length > 0;
    const request = () => {
      if (hasAnnotations) return annotated;
      if (ciphertext.length === 0 || ciphertext.length > maxCiphertextBytes) return noCiphertext;
      return ok({ wrapped: encodeBase64(ciphertext), aad, kid });
    };
    const opened = await this.#ask(call, uid, this.#parts.operations().kek_unwrap, request());
    // The operation's hint names its own member, `wrapped`.
    const unknown = !opened.ok && opened.failure.code === 'BadRequest' && !hasAnnotations;
    return unknown ? noCiphertext : opened;
  }

  /** Records a refusal for the connection of a user who may do nothing. */
  async record(call: KmsV2Call): Promise<void> {
    await this.#ask(call, '', this.#parts.operations().kek_list, ok({}));
  }

  async #ask<Request, Answer>(
    { peer, leftMs, cancellation, withinAllowance }: KmsV2Call,
    uid: string,
    operation: Operation<Request, Answer>,
    request: Result<Request>,
  ): Promise<Result<Answer>> {
    if (leftMs !== undefined && leftMs < 1) return past;
    return this.#parts.requestPath({
      ...{ operation, cancellation, withinAllowance, body: noBody },
      parse: () => request,
      credentials: { token: undefined, peer: () => peer },
      deadlineWish:
        leftMs === undefined ? undefined : String(Math.floor(Math.min(leftMs, largestDeadlineMs))),
      notes: notesOf(uid),
    });
  }
}

/** The uid of Kubernetes is the id of the request on the logs. */
function notesOf(uid: string): CallNotes {
  const requestId = isUuid(uid) ? uid : randomUUIDv7();
  return {
    names: () => ({ requestId, correlationId: undefined, traceparent: undefined }),
    trace: undefined,
    caller: undefined as Caller | undefined,
    request: undefined,
    works: undefined,
  };
}

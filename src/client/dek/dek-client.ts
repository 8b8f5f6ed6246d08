import { fromBase64, toBase64 } from '../bytes.ts';
import { KmsError, type KmsErrorCode, kmsErrorCodes } from '../errors.ts';
import { type Answer, Transport } from '../transport.ts';
import type { DekInfo, DekProvider, KekWrapping } from './provider.ts';

export interface DekClientOptions {
  /** `unix:/path`, or where `KMS_DEK` serves them too. */
  readonly url: string | URL;
  /** Of each call, in milliseconds; a rotation of the KEK has a minute for each 10 s of it. */
  readonly deadlineMs?: number;
  /** A capability, where the service asks for one. */
  readonly token?: string;
}

const usualDeadlineMs = 10_000;
const rotationTimes = 6;

/** External mode: `serve-dek` at the other end of a Unix socket. Rejects with a KmsError, or an UnreachableError. */
export class DekClient implements DekProvider {
  readonly #transport: Transport;
  readonly #deadlineMs: number;
  readonly #headers: Readonly<Record<string, string>>;

  constructor({ url, deadlineMs = usualDeadlineMs, token }: DekClientOptions) {
    if (!Number.isInteger(deadlineMs) || deadlineMs < 1)
      throw new TypeError('deadlineMs is a whole number of milliseconds');
    this.#transport = new Transport({ url });
    this.#deadlineMs = deadlineMs;
    this.#headers = token === undefined ? {} : { authorization: `Bearer ${token}` };
  }

  async createDekForThread(threadId: string): Promise<DekInfo> {
    return infoOf(await this.#ask('/create_dek_for_thread', { thread_id: threadId }));
  }

  async createDek(keyId?: string): Promise<DekInfo> {
    return infoOf(await this.#ask('/deks', keyId === undefined ? {} : { key_id: keyId }));
  }

  async getWrapped(keyId: string): Promise<DekInfo> {
    return infoOf(await this.#ask(`/get_wrapped?key_id=${encodeURIComponent(keyId)}`));
  }

  async encrypt(keyId: string, plaintext: Uint8Array, aad?: Uint8Array): Promise<Uint8Array> {
    const body = { key_id: keyId, plaintext: toBase64(plaintext), ...aadOf(aad) };
    return fromBase64(textIn(await this.#ask('/encrypt', body), 'ciphertext'));
  }

  async decrypt(keyId: string, ciphertext: Uint8Array, aad?: Uint8Array): Promise<Uint8Array> {
    const body = { key_id: keyId, ciphertext: toBase64(ciphertext), ...aadOf(aad) };
    return fromBase64(textIn(await this.#ask('/decrypt', body), 'plaintext'));
  }

  async rotateDek(keyId: string): Promise<DekInfo> {
    return infoOf(await this.#ask('/rotate_dek', { key_id: keyId }));
  }

  async wrap(plaintext: Uint8Array, aad?: Uint8Array): Promise<KekWrapping> {
    const answer = await this.#ask('/wrap', { plaintext: toBase64(plaintext), ...aadOf(aad) });
    return { wrapped: textIn(answer, 'wrapped'), ...kekIn(answer) };
  }

  async unwrap(wrapped: string, aad?: Uint8Array): Promise<Uint8Array> {
    return fromBase64(textIn(await this.#ask('/unwrap', { wrapped, ...aadOf(aad) }), 'plaintext'));
  }

  async rotateKek() {
    const answer = await this.#ask('/rotate_kek', {}, rotationTimes);
    return { ...kekIn(answer), rewrapped: numberIn(answer, 'rewrapped') };
  }

  async destroyDek(keyId: string): Promise<void> {
    await this.#ask('/destroy_dek', { key_id: keyId });
  }

  /** By /healthz, and by /health where that is not there. */
  async healthy(): Promise<boolean> {
    for (const path of ['/healthz', '/health']) {
      try {
        const { status } = await this.#transport.ask({ path, timeoutMs: this.#deadlineMs });
        if (status !== 404) return status === 200;
      } catch {
        return false;
      }
    }
    return false;
  }

  close(): Promise<void> {
    return this.#transport.close();
  }

  async #ask(path: string, body?: unknown, times = 1): Promise<unknown> {
    const timeoutMs = this.#deadlineMs * times;
    // The service's own deadline is shorter, and made for signatures.
    const headers = { ...this.#headers, 'x-deadline-ms': String(Math.min(timeoutMs, 60_000)) };
    const more = body === undefined ? undefined : { body };
    return read(await this.#transport.ask({ path, headers, timeoutMs, ...more }));
  }
}

function read({ status, text, retryAfter }: Answer): unknown {
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch {
    body = undefined;
  }
  if (status >= 200 && status <= 299 && body !== undefined) return body;
  const {
    error,
    code,
    request_id: requestId,
    retry_after_ms: ownMs,
  } = (body ?? {}) as Readonly<Record<string, unknown>>;
  const known = kmsErrorCodes.find((each) => each === code) ?? (status === 401 ? 'NoCapability' : 'Internal');
  const retryAfterMs = typeof ownMs === 'number' ? ownMs : secondsIn(retryAfter);
  throw new KmsError(
    {
      code: known satisfies KmsErrorCode,
      message: typeof error === 'string' ? error : `status ${status}`,
      retryable: status === 429 || status >= 500,
      ...(retryAfterMs === undefined ? undefined : { retryAfterMs }),
      ...(typeof requestId === 'string' ? { requestId } : undefined),
    },
    status,
  );
}

function secondsIn(header: string | string[] | undefined): number | undefined {
  const seconds = Number(header);
  return header === undefined || Number.isNaN(seconds) ? undefined : seconds * 1_000;
}

function infoOf(answer: unknown): DekInfo {
  return {
    ...{ keyId: textIn(answer, 'key_id'), keyVersion: numberIn(answer, 'key_version') },
    ...{ wrapped: textIn(answer, 'wrapped'), ...kekIn(answer) },
  };
}

function kekIn(answer: unknown) {
  return { kekId: textIn(answer, 'kek_id'), kekVersion: numberIn(answer, 'kek_version') };
}

function textIn(answer: unknown, member: string): string {
  const value = (answer as Readonly<Record<string, unknown>> | null)?.[member];
  if (typeof value !== 'string') throw new TypeError(`the answer has no ${member}`);
  return value;
}

function numberIn(answer: unknown, member: string): number {
  const value = (answer as Readonly<Record<string, unknown>> | null)?.[member];
  if (typeof value !== 'number') throw new TypeError(`the answer has no ${member}`);
  return value;
}

function aadOf(aad: Uint8Array | undefined) {
  return aad === undefined ? undefined : { aad: toBase64(aad) };
}

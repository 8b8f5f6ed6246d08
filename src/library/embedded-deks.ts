import { createCancellation } from '../core/cancellation.ts';
import { failure } from '../core/failure.ts';
import { peerAt } from '../core/peer.ts';
import { ok, type Result } from '../core/result.ts';
import type { Caller, Scope } from '../core/scope.ts';
import type { DekOperations } from '../operations/deks/operations.ts';
import type { Operation } from '../operations/operation.ts';
import type { RequestPath } from '../request-path.ts';
import { bytes, optionalBytes, optionalText, text } from './arguments.ts';
import { KmsError, KmsOpenError } from './errors.ts';
import { type DirectoryOptions, type OpenedLibrary, openLibrary } from './open.ts';

/** As `DekInfo` of `intaglio/client`, of which this is the other mode. */
export interface EmbeddedDek {
  readonly keyId: string;
  readonly keyVersion: number;
  readonly wrapped: string;
  readonly kekId: string;
  readonly kekVersion: number;
}

const tenant = 'dek';
const scopes: readonly Scope[] = [
  ...(['kms:create', 'kms:read', 'kms:wrap', 'kms:unwrap', 'kms:encrypt', 'kms:decrypt'] as const),
  ...(['kms:rotate', 'kms:destroy'] as const),
];
const deadline = '10000';

/** Embedded mode: data encryption keys in this process, over a directory of its own; docs/dek.md. */
export class EmbeddedDeks implements AsyncDisposable {
  readonly #opened: OpenedLibrary;
  readonly #path: RequestPath;

  /** Rejects with a KmsOpenError. */
  static async open(options: Omit<DirectoryOptions, 'tenant'>): Promise<EmbeddedDeks> {
    const problems: string[] = [];
    // Without one the keys of a database would lie wherever the process was started.
    if (typeof options?.directory !== 'string') problems.push('directory is a path');
    if (options !== undefined && 'tenant' in options) problems.push('DEKs are of no tenant');
    if (problems.length > 0) throw new KmsOpenError(problems);
    return new EmbeddedDeks(await openLibrary(options, { dek: true }, 'pool', true));
  }

  private constructor(opened: OpenedLibrary) {
    this.#opened = opened;
    const caller: Caller = { tenant, actor: 'library', scopes: new Set(scopes) };
    this.#path = opened.service.requestPathFor({ authenticate: () => ok(caller) });
  }

  async createDekForThread(threadId: string): Promise<EmbeddedDek> {
    return infoOf(await this.#run('dek_create', { id: undefined, threadId: text('threadId', threadId) }));
  }

  async createDek(keyId?: string): Promise<EmbeddedDek> {
    return infoOf(await this.#run('dek_create', { id: optionalText('keyId', keyId), threadId: undefined }));
  }

  async getWrapped(keyId: string): Promise<EmbeddedDek> {
    return infoOf(await this.#run('dek_read', { id: text('keyId', keyId) }));
  }

  async encrypt(keyId: string, plaintext: Uint8Array, aad?: Uint8Array): Promise<Uint8Array> {
    const { ciphertext } = await this.#run('dek_encrypt', {
      ...{ id: text('keyId', keyId), plaintext: bytes('plaintext', plaintext), aad: aadOf(aad) },
    });
    return ciphertext;
  }

  async decrypt(keyId: string, ciphertext: Uint8Array, aad?: Uint8Array): Promise<Uint8Array> {
    const { plaintext } = await this.#run('dek_decrypt', {
      ...{ id: text('keyId', keyId), ciphertext: bytes('ciphertext', ciphertext), aad: aadOf(aad) },
      version: undefined,
    });
    // A view of the answer of several calls.
    return Uint8Array.from(plaintext);
  }

  async rotateDek(keyId: string): Promise<EmbeddedDek> {
    return infoOf(await this.#run('dek_rotate', { id: text('keyId', keyId) }));
  }

  /** Bytes of the caller's own by the key encryption key, at most 64 KiB. */
  async wrap(plaintext: Uint8Array, aad?: Uint8Array) {
    return this.#run('kek_wrap', { plaintext: bytes('plaintext', plaintext), aad: aadOf(aad) });
  }

  async unwrap(wrapped: string, aad?: Uint8Array): Promise<Uint8Array> {
    const request = { wrapped: text('wrapped', wrapped), aad: aadOf(aad) };
    return Uint8Array.from((await this.#run('kek_unwrap', request)).plaintext);
  }

  async rotateKek(): Promise<{ kekId: string; kekVersion: number; rewrapped: number }> {
    return this.#run('kek_rotate', { plainKek: undefined });
  }

  async destroyDek(keyId: string): Promise<void> {
    await this.#run('dek_destroy', { id: text('keyId', keyId) });
  }

  async healthy(): Promise<boolean> {
    return this.#opened.refusal() === undefined;
  }

  close(): Promise<void> {
    return this.#opened.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #run<Name extends keyof DekOperations>(
    name: Name,
    request: RequestOf<DekOperations[Name]>,
  ): Promise<AnswerOf<DekOperations[Name]>> {
    const { service, refusal, during } = this.#opened;
    const refused = refusal();
    if (refused !== undefined) throw new KmsError(refused);
    const { dekOperations } = service;
    if (dekOperations === undefined) throw new KmsError(failure('Unsupported'));
    const operation = dekOperations[name] as unknown as Operation<unknown, AnswerOf<DekOperations[Name]>>;
    const answer = await during(async () =>
      this.#path<unknown, AnswerOf<DekOperations[Name]>>({
        ...{ operation, parse: () => ok(request) as Result<unknown>, body: nothing },
        ...{ credentials: { token: undefined, peer: () => here }, deadlineWish: deadline },
        ...{ cancellation: createCancellation(), withinAllowance: () => true },
      }),
    );
    if (!answer.ok) throw new KmsError(answer.failure, name === 'dek_decrypt' || name === 'kek_unwrap');
    return answer.value;
  }
}

type RequestOf<O> = O extends Operation<infer Request, infer _> ? Request : never;
type AnswerOf<O> = O extends Operation<infer _, infer Answer> ? Answer : never;

const nothing = new Uint8Array(0);
const here = peerAt('unix');

function aadOf(aad: unknown): Uint8Array {
  return optionalBytes('aad', aad) ?? nothing;
}

function infoOf({
  id,
  version,
  wrapped,
  kekId,
  kekVersion,
}: AnswerOf<DekOperations['dek_read']>): EmbeddedDek {
  return { keyId: id, keyVersion: version, wrapped, kekId, kekVersion };
}

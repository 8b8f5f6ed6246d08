import { failure } from '../core/failure.ts';
import { isName } from '../core/name.ts';
import type { EngineDescription } from '../engine/engine.ts';
import type { EventSource, ServiceEvent, Subscription } from '../events/event-source.ts';
import { KmsError, KmsOpenError } from './errors.ts';
import { type DirectoryOptions, type KmsOptions, type OpenedLibrary, openLibrary } from './open.ts';
import { TenantKms } from './tenant.ts';

/**
 * Keys and what they do in the process of whoever imports this, without HTTP: the same operations, policy, limits and audit
 * log as the service has, over a directory of its own. Whoever has it may do everything. Methods are those of a tenant, see
 * TenantKms; they reject with a KmsError.
 */
export class Kms extends TenantKms implements AsyncDisposable {
  readonly #opened: OpenedLibrary;

  /** Rejects with a KmsOpenError: wrong options, or a directory that is in use, damaged or of another root key. */
  static async open(options: DirectoryOptions): Promise<Kms> {
    if (typeof options?.directory !== 'string') throw new KmsOpenError(['directory is a path']);
    const tenant = tenantOf(options);
    return new Kms(await openLibrary(options, {}, 'pool'), tenant);
  }

  protected constructor(opened: OpenedLibrary, tenant: string) {
    super(opened, tenant);
    this.#opened = opened;
  }

  /** The same keys as another tenant has them: none of this one's are there. */
  forTenant(tenant: string): TenantKms {
    if (!isName(tenant)) throw new KmsError(failure('BadRequest', tenantForm));
    return new TenantKms(this.#opened, tenant);
  }

  /** The engine that does the cryptography, and what it lacks. */
  get engine(): EngineDescription {
    return this.#opened.service.engine;
  }

  /** Everything that happens here, of all tenants. */
  get events(): EventSource {
    return this.#opened.service.events;
  }

  /** A key has a new version. Its promise delays only this listener. */
  onKeyRotated(listener: (event: ServiceEvent) => void | Promise<void>): Subscription {
    return this.#on('key.rotated', listener);
  }

  /** A key was derived for the first time. */
  onKeyDerived(listener: (event: ServiceEvent) => void | Promise<void>): Subscription {
    return this.#on('key.derived', listener);
  }

  #on(kind: string, listener: (event: ServiceEvent) => void | Promise<void>): Subscription {
    const subscription = this.events.subscribe((event) =>
      event.kind === kind ? listener(event) : undefined,
    );
    if (typeof subscription === 'string')
      throw new KmsError(failure('NotReady', 'no more listeners are taken'));
    return subscription;
  }

  /** Waits for calls under way, flushes the log, wipes keys. Idempotent; later calls are refused with NotReady. */
  async close(): Promise<void> {
    await this.#opened.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/** The same in memory: nothing is written anywhere, no log is kept, and with `close` all keys are gone. For development and tests. */
export class InMemoryKms extends Kms {
  static override async open(options: KmsOptions = {}): Promise<InMemoryKms> {
    if ((options as { directory?: unknown } | null)?.directory !== undefined)
      throw new KmsOpenError(['what is in memory has no directory']);
    const tenant = tenantOf(options);
    return new InMemoryKms(await openLibrary(options, { amnesia: true, audit: 'off' }, 'inline'), tenant);
  }
}

const tenantForm = 'tenant is 1 to 63 of a-z 0-9 . _ - and begins with a letter or digit';

function tenantOf(options: KmsOptions): string {
  if (typeof options !== 'object' || options === null) throw new KmsOpenError(['options is an object']);
  const { tenant = 'default' } = options;
  if (typeof tenant !== 'string' || !isName(tenant)) throw new KmsOpenError([tenantForm]);
  return tenant;
}

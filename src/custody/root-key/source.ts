import { StartError } from '../../core/start-error.ts';
import type { Engine, EngineErrorCode, RootRef, RootSource } from '../../engine/engine.ts';

/**
 * A source of the key under which all others are sealed. No source gives its bytes. It names a file or a descriptor that the
 * engine reads into its own memory, or fills a page that the engine lends for one call.
 */
export interface RootKeySource {
  /** Its name in messages to the operator, such as a path. No secret. */
  readonly place: string;
  /** True if there is a key. Throws a StartError where it must not be used as it is. */
  isThere(): boolean;
  /** The way in which the engine gets the bytes. Called once, if the key is there; may ask others first. */
  open(): Promise<RootSource>;
  /** Makes a key, which is durable when it returns; throws a StartError where none can be. Absent if only others can. */
  readonly make?: (engine: Engine) => RootRef;
}

/** The root key of a store is not among those that were given: it is not there, or it is another one. */
export class RootKeyError extends StartError {
  readonly reason: 'missing' | 'another';

  constructor(reason: 'missing' | 'another', message: string) {
    super(message);
    this.reason = reason;
  }
}

/** Says in a StartError what to do where the engine refuses. `own`: what this source knows better. */
export function orAdvice(
  place: string,
  opening: () => RootRef,
  own: Partial<Record<EngineErrorCode, string>> = {},
): RootRef {
  try {
    return opening();
  } catch (cause) {
    if (cause instanceof StartError) throw cause;
    const { code = 'IO' } = cause as { code?: EngineErrorCode | 'EEXIST' };
    const known = code === 'EEXIST' ? 'ROOT_EXISTS' : code;
    throw new StartError(`${place}: ${own[known] ?? advice[known] ?? advice.IO}`, { cause });
  }
}

const advice: Partial<Record<EngineErrorCode, string>> & { readonly IO: string } = {
  ROOT_PERMISSIONS: 'must be a regular file that the service may read, and others may not',
  ROOT_LENGTH: 'must hold exactly 32 bytes',
  ROOT_MISSING: 'does not exist',
  ROOT_EXISTS: 'was made by another process at the same moment: start again',
  IO: 'cannot be opened or made',
};

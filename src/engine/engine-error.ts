import type { EngineErrorCode } from './engine.ts';

/** An error of an engine's control-plane calls. `message` names no path, input or cause. */
export class EngineError extends Error {
  readonly code: EngineErrorCode;

  constructor(code: EngineErrorCode, message: string) {
    super(message);
    this.name = 'EngineError';
    this.code = code;
  }
}

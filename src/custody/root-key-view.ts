import type { Result } from '../core/result.ts';

/** The root key as its operator sees it, and the one thing that is done with it while the service runs. */
export interface RootKeyView {
  state(): RootKeyCondition;
  /** In the order in which they are tried. */
  sources(): readonly RootKeySourceView[];
  /** The source that opened it at the start. */
  readonly opened: string;
  /** Resolves when records begin to go over to a new root key. */
  rotate(actor: string): Promise<Result<unknown>>;
}

export interface RootKeyCondition {
  /** 1, and one more with each rotation. */
  readonly generation: number;
  /** 16 hex digits by which root keys are told apart. */
  readonly root: string;
  readonly rotatedAtMs: number | undefined;
  readonly rotation:
    | {
        readonly generation: number;
        readonly startedAtMs: number;
        /** Records of the store. */
        readonly done: number;
        readonly total: number;
      }
    | undefined;
}

export interface RootKeySourceView {
  readonly id: string;
  readonly kind: string;
  readonly place: string;
}

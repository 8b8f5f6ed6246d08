import { type Dek, newestOf } from './dek.ts';
import { wrappedText } from './wrapped-text.ts';

/** A DEK as callers see it: everything but its bytes. */
export interface DescribedDek {
  readonly id: string;
  readonly version: number;
  /** The wrapping of the newest version; see wrapped-text.ts. */
  readonly wrapped: string;
  readonly kekId: string;
  readonly kekVersion: number;
}

export function describeDek(kekId: string, dek: Dek): DescribedDek {
  const { version, kek, wrapped } = newestOf(dek);
  return { id: dek.id, version, wrapped: wrappedText({ kek, wrapped }), kekId, kekVersion: kek };
}

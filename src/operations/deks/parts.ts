import type { Refused, Result } from '../../core/result.ts';
import type { Caller } from '../../core/scope.ts';
import type { DekStore } from './dek-store.ts';
import type { Keks } from './keks.ts';
import type { DekRewrapper } from './rotation/dek-rewrapper.ts';
import type { KekRotation } from './rotation/kek-rotation.ts';
import type { DekSnapshots } from './rotation/snapshots.ts';

/** Parts that the operations of DEKs share. */
export interface DekParts {
  readonly deks: DekStore;
  readonly keks: Keks;
  readonly rotation: KekRotation;
  readonly rewrapper: DekRewrapper;
  readonly snapshots: DekSnapshots;
  readonly journal: DekJournal;
  /** True: /rotate_kek may bring a KEK in the clear. */
  readonly allowPlainKek: boolean;
}

export interface DekJournal {
  /** The record is on the disk when it resolves; a refusal stops the change. `end` takes the outcome of the change. */
  record(change: DekChange): Promise<Result<{ end(failed: Refused | undefined): void }>>;
}

export interface DekChange {
  readonly kind: 'destroyed' | 'kek_rotated' | 'restored' | 'rewrapped';
  readonly caller: Pick<Caller, 'actor' | 'tenant'>;
  readonly facts: Readonly<Record<string, string | number>>;
}

import type { Result } from '../../core/result.ts';
import type { InventoryKey } from '../../keys/inventory.ts';
import type { PublishedCheckpoint } from '../audit-log.ts';
import type { AnchorStore } from '../disk/anchor.ts';
import type { SecretParts } from '../disk/secrets.ts';
import type { NoteSigner } from '../format/note.ts';
import type { AuditReading } from '../reading/read-thread.ts';
import type { Witnessed } from '../thread-messages.ts';
import type { TwoPersonAcceptance } from './acceptance.ts';
import type { KeyRotation } from './key-rotation.ts';

/** The keys that sign checkpoints of one origin, which is also their name. */
export interface CheckpointKeys {
  readonly signers: readonly NoteSigner[];
  /** Verifier keys that older checkpoints may be signed with. From configuration or store, never from the audit directory. */
  readonly trusted?: readonly string[];
}

export interface KeyInventory {
  /** Keys in the order of their ids, some 1,000 from after this one on; none: that was the last one. */
  page(after: string | undefined): Promise<Result<readonly InventoryKey[]>>;
}

/** The parts of the service around it that the log needs: keys, store, network. */
export interface AuditLogParts extends SecretParts {
  checkpointKeys(origin: string): Promise<CheckpointKeys>;
  /** The store's place for the anchor; undefined only where no store outlives the process. */
  readonly anchors: AnchorStore | undefined;
  /** The keys of that store, for the comparison at each start; none where changes of keys are not on the log. */
  readonly keys?: KeyInventory | undefined;
  /**
   * The trees of this log that witnesses have cosigned; asked at each start, before anything is written. Refused: too few
   * of them have said so, and the log must not start without.
   */
  witnessed?(origin: string): Promise<Result<readonly Witnessed[]>>;
  /** Gives the note with the cosignatures that the policy wants, or why it cannot be had now. */
  witness?(checkpoint: PublishedCheckpoint): Promise<Result<Uint8Array>>;
  /** For the operator's log: one line each. */
  report(event: AuditReport, detail: string): void;
}

export type AuditReport =
  | 'audit_state'
  | 'audit_checkpoint_failed'
  | 'audit_witness_failed'
  | 'audit_disk'
  | 'audit_clock';

/** The parts that the audit routes work with. */
export interface AuditParts {
  readonly reading: AuditReading;
  /** Verifier keys of the log, and how they are replaced. */
  readonly rotation: Pick<KeyRotation, 'logKeys' | 'newest' | 'rotate'>;
  /** True if checkpoints are cosigned, so that an answer can wait for that. */
  readonly witnessed: boolean;
  /** After an integrity failure: two people agree, and a new epoch begins. */
  readonly acceptance: TwoPersonAcceptance;
}

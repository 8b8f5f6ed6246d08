/** The reason why a backup is not made, read or restored. A closed list: scripts know these words. */
export type BackupReason =
  /** It ends too early, or its bytes are not those that were written. */
  | 'damaged'
  | 'not_a_backup'
  | 'unknown_version'
  /** The passphrase or the identities open no part of it. */
  | 'wrong_key'
  /** A part is larger, or there are more of them, than any backup has. */
  | 'too_large'
  /** An entry would land outside of the directory, or is no regular file. */
  | 'unsafe_entry'
  | 'file_exists'
  | 'target_not_empty'
  | 'target_unsafe'
  | 'in_use'
  /** The directory waits for another restore to be finished. */
  | 'restore_under_way'
  /** The directory, or a witness, knows a later state of the log than the backup has. */
  | 'older_than_known'
  /** Somebody ended it while it was made. */
  | 'interrupted'
  | 'source_unusable';

/** Thrown within this room only; a caller gets it as a value. */
export class BackupRefusal extends Error {
  readonly reason: BackupReason;

  constructor(reason: BackupReason, detail: string, options?: ErrorOptions) {
    super(detail, options);
    this.reason = reason;
  }
}

export type Outcome<T> =
  | { readonly ok: true; readonly value: T }
  /** `detail`: for the operator, one line, no secret. */
  | { readonly ok: false; readonly reason: BackupReason; readonly detail: string };

export async function outcomeOf<T>(act: () => Promise<T>): Promise<Outcome<T>> {
  try {
    return { ok: true, value: await act() };
  } catch (cause) {
    if (cause instanceof BackupRefusal) return { ok: false, reason: cause.reason, detail: cause.message };
    throw cause;
  }
}

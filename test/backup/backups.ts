import assert from 'node:assert/strict';
import { join } from 'node:path';
import { generateX25519Identity, identityToRecipient } from 'age-encryption';
import { type BackupReport, createBackup } from '../../src/backup/create.ts';
import type { Outcome } from '../../src/backup/refusal.ts';
import { type Restored, type RestoreOptions, restoreBackup } from '../../src/backup/restore.ts';
import type { OpenWith, SealTo } from '../../src/custody/root-key/age.ts';

export const identity = await generateX25519Identity();

/** A key that opens the backups of tests in no time, as scrypt does not. */
export const opens: OpenWith = { identities: [identity] };
export const sealTo: SealTo = { recipients: [await identityToRecipient(identity)] };

export const placesOf = (dataDir: string) => ({
  ...{ dataDir, auditDir: join(dataDir, 'audit'), rootKeyFile: join(dataDir, 'root.key'), rootKeyFd: 0 },
});

export function make(
  dataDir: string,
  out: string,
  more: Partial<Parameters<typeof createBackup>[0]> = {},
): Promise<Outcome<BackupReport>> {
  return createBackup({
    ...{ places: placesOf(dataDir), out, sealTo, withRootKey: true, force: false, version: 'test' },
    progress() {},
    ...more,
  });
}

export function restore(
  from: string,
  dataDir: string,
  more: Partial<RestoreOptions> = {},
): Promise<Outcome<Restored>> {
  return restoreBackup({
    ...{ from, opens, targets: { dataDir, auditDir: undefined }, replace: false },
    ...{ acceptRollback: undefined, witnesses: undefined, secretRule: { groupAllowed: false } },
    progress() {},
    warn: (text) => assert.fail(text),
    ...more,
  });
}

export function done<T>(outcome: Outcome<T>): T {
  assert.ok(outcome.ok, outcome.ok ? '' : `${outcome.reason}: ${outcome.detail}`);
  return outcome.value;
}

export function reasonOf(outcome: Outcome<unknown>): string {
  return outcome.ok ? 'ok' : outcome.reason;
}

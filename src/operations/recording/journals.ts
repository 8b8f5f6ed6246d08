import { randomUUID } from 'node:crypto';
import type { AuditEvent, AuditRecorder } from '../../audit/audit-log.ts';
import type { FailureCode } from '../../core/failure.ts';
import { ok, type Refused } from '../../core/result.ts';
import type { Caller } from '../../core/scope.ts';
import type { KeyChange, KeyJournal } from '../../keys/keyring.ts';
import { operatorTenant } from '../admin.ts';

/**
 * Changes of keys go to the log before they are committed, and are on the disk before they take effect. One that then does
 * not, or perhaps not, gets a second record that says so.
 */
export function createKeyJournal(recorder: AuditRecorder): KeyJournal {
  return {
    async record(change: KeyChange) {
      const refused = recorder.reserve(2);
      if (refused !== undefined) return refused;
      const { actor, alg, keyId, opId = randomUUID(), tenant, kind, source } = change;
      const event: AuditEvent = {
        actor,
        alg,
        inputDigest: undefined,
        keyId,
        keyVersion: change.version,
        opId,
        purpose: source === undefined ? kind : operationOfSource[source.kind],
        result: 'ok',
        tenant,
        type: `key.${kind}`,
        ...dataOf(change),
      };
      const recorded = await recorder.append(event, 'synced');
      const failed = (code: FailureCode) => {
        void recorder.append({ ...event, result: `error:${code}` }, 'written');
      };
      if (!recorded.ok) {
        // It can be on the log all the same, now or later.
        failed(recorded.failure.code);
        return recorded;
      }
      return ok({
        end(failure) {
          if (failure !== undefined) {
            failed(failure);
            return;
          }
          recorder.changeCommitted(keyId);
          recorder.release(1);
        },
      });
    },
  };
}

/** The operation as its records name it. */
const operationOfSource = { derived: 'derive', imported: 'import' } as const;

function dataOf({ publicKeySha256, source, facts }: KeyChange): Pick<AuditEvent, 'data'> | undefined {
  if (publicKeySha256 === undefined) return facts && { data: facts };
  const of =
    source === undefined
      ? undefined
      : source.kind === 'derived'
        ? { source: 'derived', derived_from: source.from }
        : { source: source.publicOnly ? 'imported_public' : 'imported' };
  return { data: { public_key_sha256: publicKeySha256, ...of, ...facts } };
}

/** One making or revoking of capabilities, for its record. */
export interface TokenEvent {
  readonly kind: 'exchange' | 'mint' | 'discharge' | 'revoke' | 'rotate_key';
  readonly caller: Pick<Caller, 'actor' | 'tenant'>;
  readonly opId: string | undefined;
  readonly facts: Readonly<Record<string, string | number>>;
}

export interface TokenJournal {
  /** The record is on the disk when it resolves; a refusal stops the event. */
  record(event: TokenEvent): Promise<Refused | undefined>;
  /** The event has happened, and stays so whether or not there is room for its record. */
  note(event: TokenEvent): Promise<void>;
}

export function createTokenJournal(recorder: AuditRecorder): TokenJournal {
  return {
    async record(event) {
      const full = recorder.reserve(1);
      if (full !== undefined) return full;
      const appended = await recorder.append(tokenEvent(event), 'synced');
      return appended.ok ? undefined : appended;
    },
    async note(event) {
      if (recorder.reserve(1) === undefined) await recorder.append(tokenEvent(event), 'synced');
      else recorder.unrecorded(tokenEvent(event));
    },
  };
}

function tokenEvent({ kind, caller, opId = randomUUID(), facts }: TokenEvent): AuditEvent {
  const { actor, tenant } = caller;
  return {
    ...{ actor, tenant, opId, alg: 'none', inputDigest: undefined, keyId: `${tenant}/-`, keyVersion: 0 },
    ...{ purpose: `token_${kind}`, result: 'ok', type: `token.${kind}`, data: facts },
  };
}

/** The settings that a reload has changed, by the names of a file's members. */
export interface SettingsEvent {
  readonly changed: readonly { readonly member: string; readonly before: string; readonly after: string }[];
  /** Contents that were read again and differ, such as a file's digest. */
  readonly contents: Readonly<Record<string, string>>;
  /** Variables. */
  readonly needRestart: readonly string[];
}

/** Records a reload, which has happened and stays so. */
export function createSettingsJournal(recorder: AuditRecorder): (event: SettingsEvent) => Promise<void> {
  return async ({ changed, contents, needRestart }) => {
    const settings = changed.map(({ member, before, after }) => [member, `${before} -> ${after}`] as const);
    const event: AuditEvent = {
      ...{
        actor: 'operator',
        tenant: operatorTenant,
        opId: randomUUID(),
        alg: 'none',
        inputDigest: undefined,
      },
      ...{
        keyId: `${operatorTenant}/-`,
        keyVersion: 0,
        purpose: 'config',
        result: 'ok',
        type: 'config.reloaded',
      },
      data: {
        ...contents,
        ...Object.fromEntries(settings),
        ...(needRestart.length === 0 ? undefined : { need_restart: namesOrCount(needRestart) }),
      },
    };
    if (recorder.reserve(1) === undefined) await recorder.append(event, 'synced');
    else recorder.unrecorded(event);
  };
}

/** A record has 4 KiB. */
function namesOrCount(names: readonly string[]): string | number {
  return names.length > 8 ? names.length : names.join(',');
}

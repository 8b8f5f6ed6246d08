import { randomUUID } from 'node:crypto';
import { RateLimits, type RateWindow } from '../admission/rate-limits.ts';
import type { AuditEvent, AuditRecorder } from '../audit/audit-log.ts';
import type { Clock } from '../core/clock.ts';
import type { FailureCode } from '../core/failure.ts';
import type { Caller } from '../core/scope.ts';
import type { Keyring } from '../keys/keyring.ts';
import type { AuditDurability } from '../keys/record.ts';
import type { Subjects } from './operation.ts';

/** Records of what was refused. A refusal is right whether or not there is room for its record. */
export interface Denials {
  /** A call, or an item of one, that was refused although its caller may ask such things. Resolves when it is recorded, or cannot be. */
  denied(operation: string, subjects: Subjects, code: FailureCode, caller: Caller): Promise<void>;
  /** A call for which the capability lacks the scope. `subjects` is asked only where there is to be a record. */
  unauthorised(operation: string, caller: Caller, subjects: () => Subjects): void;
}

/** Refusals that say something of what a caller may do; docs/audit.md says why the others are counted only. */
const recordedRefusals: ReadonlySet<FailureCode> = new Set([
  'Conflict',
  'PolicyViolation',
  'ExportForbidden',
  'AttestationMissing',
]);

/**
 * Missing scopes that are recorded, for each tenant; beyond that they are counted in metrics only. No rate of the tenant
 * holds such calls back, because a capability that may not sign must not use up what those may that can; and a stolen
 * one can come from any number of addresses. A minute's 60 show who tried and which keys, and fill 30 MB of log a day.
 */
export const unauthorisedRecords: RateWindow = { count: 60, windowMs: 60_000 };

/** Tenants with such refusals at a time, about 300 bytes each. */
const maxTenants = 4_096;

/** `keys`: a key that is not there gets no record, or anybody could make up names for the log to keep count of. */
export function createDenials(
  recorder: AuditRecorder,
  level: AuditDurability,
  keys: Pick<Keyring, 'find'>,
  clock: Clock,
): Denials {
  const allowance = new RateLimits([unauthorisedRecords], maxTenants);

  const append = async (refused: Refused, of: KeyOf) => {
    const { operation, code, caller } = refused;
    const { actor, tenant } = caller;
    const event = {
      ...{ ...of, actor, inputDigest: undefined, tenant },
      ...{ opId: randomUUID(), purpose: operation, result: `denied:${code}` },
    };
    if (recorder.reserve(1) === undefined) await recorder.append(event, level);
    else recorder.unrecorded(event);
  };

  const appendOfKey = async (refused: Refused, kid: string) => {
    const found = await keys.find(refused.caller.tenant, kid);
    if (!found.ok) return;
    const { head, version, algorithm } = found.value;
    await append(refused, { alg: algorithm.name, keyId: head.id, keyVersion: version.version });
  };

  const unauthorised: Denials['unauthorised'] = (operation, caller, subjectsOfCall) => {
    // One for the call, because reading it costs something too, and one for each further key.
    const exhausted = () => allowance.take(caller.tenant, clock.monotonicMs()) > 0;
    if (exhausted()) return;
    const subjects = subjectsOfCall();
    const refused = { operation, code: 'NoCapability', caller } as const;
    if ('alg' in subjects) {
      void append(refused, noKeyOf(caller, subjects.alg));
      return;
    }
    for (const [index, kid] of [...new Set(subjects)].entries()) {
      if (index > 0 && exhausted()) return;
      void appendOfKey(refused, kid);
    }
  };

  return {
    async denied(operation, subjects, code, caller) {
      // As where the scope is missing: what a tenant may not do must not fill the log either.
      if (code === 'NoCapability') unauthorised(operation, caller, () => subjects);
      if (!recordedRefusals.has(code)) return;
      const refused = { operation, code, caller };
      if ('alg' in subjects) await append(refused, noKeyOf(caller, subjects.alg));
      else await Promise.all([...new Set(subjects)].map((kid) => appendOfKey(refused, kid)));
    },
    unauthorised,
  };
}

interface Refused {
  readonly operation: string;
  readonly code: FailureCode;
  readonly caller: Caller;
}

type KeyOf = Pick<AuditEvent, 'alg' | 'keyId' | 'keyVersion'>;

/** Refusals of a tenant's calls that name no key are numbered under this id. No key has it: ids of keys have four parts. */
function noKeyOf({ tenant }: Caller, alg: string): KeyOf {
  return { alg, keyId: `${tenant}/-`, keyVersion: 0 };
}

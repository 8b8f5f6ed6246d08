import { randomUUID } from 'node:crypto';
import { RateLimits, type RateWindow } from '../admission/rate-limits.ts';
import type { AuditTrail } from '../audit/trail.ts';
import type { Clock } from '../core/clock.ts';
import type { FailureCode } from '../core/failure.ts';
import type { Caller } from '../core/scope.ts';
import type { Keyring } from '../keys/keyring.ts';
import type { AuditDurability } from '../keys/record.ts';

/** Records of what was refused. A refusal is right whether or not there is room for its record. */
export interface Denials {
  /** A call, or an item of one, that was refused although its caller may ask such things. Resolves when it is recorded, or cannot be. */
  denied(operation: string, kids: readonly string[], code: FailureCode, caller: Caller): Promise<void>;
  /** A call for which the capability lacks the scope. `kids` is asked only where there is to be a record. */
  unauthorised(operation: string, caller: Caller, kids: () => readonly string[]): void;
}

/** Refusals that say something of a key of the caller's own; all others are counted, not recorded. */
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
  trail: AuditTrail,
  level: AuditDurability,
  keys: Pick<Keyring, 'find'>,
  clock: Clock,
): Denials {
  const allowance = new RateLimits([unauthorisedRecords], maxTenants);

  const record = async (operation: string, kid: string, code: FailureCode, caller: Caller) => {
    const found = await keys.find(caller.tenant, kid);
    if (!found.ok) return;
    const { head, version, algorithm } = found.value;
    const { actor, tenant } = caller;
    const event = {
      ...{ actor, alg: algorithm.name, digestHex: undefined, keyId: head.id, keyVersion: version.version },
      ...{ opId: randomUUID(), purpose: operation, result: `denied:${code}`, tenant },
    };
    if (trail.reserve(1) === undefined) await trail.append(event, level);
    else trail.unrecorded(event);
  };

  return {
    async denied(operation, kids, code, caller) {
      if (!recordedRefusals.has(code)) return;
      await Promise.all([...new Set(kids)].map((kid) => record(operation, kid, code, caller)));
    },

    unauthorised(operation, caller, kids) {
      // One for the call, because reading it costs something too, and one for each further key.
      if (allowance.take(caller.tenant, clock.monotonicMs()) > 0) return;
      for (const [index, kid] of [...new Set(kids())].entries()) {
        if (index > 0 && allowance.take(caller.tenant, clock.monotonicMs()) > 0) return;
        void record(operation, kid, 'NoCapability', caller);
      }
    },
  };
}

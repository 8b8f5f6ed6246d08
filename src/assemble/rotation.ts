import { whereClockIsSteady } from '../auth/steady-clock.ts';
import type { LiveConfig } from '../config/reload.ts';
import { type Clock, systemClock } from '../core/clock.ts';
import type { FailureCode } from '../core/failure.ts';
import type { Result } from '../core/result.ts';
import type { Caller } from '../core/scope.ts';
import { pause } from '../keys/background.ts';
import type { KeyDescription, Keyring } from '../keys/keyring.ts';
import { formatKid } from '../keys/kid.ts';
import type { RotationSchedule } from '../keys/rotation-schedule.ts';
import type { Logger } from '../observe/log.ts';
import type { RotationMetrics } from '../observe/series/rotation-metrics.ts';
import type { Operations } from '../operations/operations.ts';

export interface ScheduledRotationParts {
  readonly settings: LiveConfig;
  readonly schedule: RotationSchedule;
  readonly keyring: Pick<Keyring, 'describe'>;
  /** Those of now. */
  readonly operations: () => Pick<Operations, 'rotate' | 'destroy'>;
  readonly metrics: RotationMetrics;
  /** Told of each change as if a request had asked for it. */
  readonly done: (operation: 'rotate' | 'destroy', result: 'ok' | FailureCode) => void;
  readonly log: Logger;
  readonly clock?: Clock;
}

export interface ScheduledRotation {
  /** Looks once, and does one thing after the other; what is under way already is waited for. */
  look(): Promise<void>;
  /** Ends what is under way. Idempotent. */
  close(): Promise<void>;
}

/** Days are what schedules are counted in: half a minute is nothing to them, and looking costs 10 ms with a million keys. */
const lookEveryMs = 30_000;
/** A time of day that jumped would make all keys due at once; it is believed again at the next look. */
const steadyMs = 60_000;
/** What is destroyed is gone for good. A time of day that went wrong is mostly set right within this, and the grace has days. */
const destroysAfterSteadyMs = 60 * 60_000;
/** After one that could not be rotated the others go first, and it comes again. */
const retryAfterMs = 10 * 60_000;
/** A version takes a worker a second at the most (RSA-4096): signatures have the rest. */
const pauseMs = 50;
const dayMs = 86_400_000;

/** The audit log's name for it. */
const scheduleActor = 'schedule';

/**
 * Rotates keys whose time has come, one at a time, and destroys versions that are no longer kept. It goes the way of all
 * changes: the same operations, with the same policy, journal and events.
 */
export function startScheduledRotation(parts: ScheduledRotationParts): ScheduledRotation {
  const { schedule, metrics, clock = systemClock } = parts;
  const stop = new AbortController();
  const retries = new Map<string, number>();
  const mayTry = (id: string) => (retries.get(id) ?? 0) <= clock.monotonicMs();

  const tell = (id: string, what: 'rotated' | 'pruned', result: Result<unknown>): void => {
    const outcome = result.ok ? 'ok' : result.failure.code;
    metrics.done(what, outcome);
    parts.done(what === 'rotated' ? 'rotate' : 'destroy', outcome);
    if (result.ok) {
      retries.delete(id);
      parts.log.info({ key: id }, what === 'rotated' ? 'rotated by its schedule' : 'old versions destroyed');
      return;
    }
    retries.set(id, clock.monotonicMs() + retryAfterMs);
    const { code, hint } = result.failure;
    parts.log.warn({ key: id, code, hint, retry_ms: retryAfterMs }, 'THE SCHEDULE OF A KEY IS NOT KEPT');
  };

  const rotateDue = async (): Promise<void> => {
    for (const { id, tenant, version } of schedule.due(clock.utcMs())) {
      if (stop.signal.aborted) return;
      if (!mayTry(id)) continue;
      // Whoever rotated it meanwhile is told by the kid with its version.
      const request = { kid: formatKid(id, version), name: undefined };
      tell(id, 'rotated', await parts.operations().rotate.run(request, callerFor(tenant)));
      await pause(pauseMs, stop.signal);
    }
  };

  const destroyed = async (id: string, tenant: string, versions: readonly number[]): Promise<boolean> => {
    for (const version of versions) {
      if (stop.signal.aborted) return false;
      const request = { kid: id, version, name: undefined };
      const result = await parts.operations().destroy.run(request, callerFor(tenant));
      tell(id, 'pruned', result);
      if (!result.ok) return false;
      await pause(pauseMs, stop.signal);
    }
    return true;
  };

  const offsetMs = () => clock.utcMs() - clock.monotonicMs();
  let steady = { offsetMs: offsetMs(), sinceMs: clock.monotonicMs() };
  const noteTime = (): void => {
    const now = offsetMs();
    const jumped = Math.abs(now - steady.offsetMs) > steadyMs;
    steady = { offsetMs: now, sinceMs: jumped ? clock.monotonicMs() : steady.sinceMs };
  };

  const told = new Set<string>();
  /** Nobody knows how old they are. To rotate them by ourselves would rotate all keys where a machine starts in 1970. */
  const tellOfFuture = (): void => {
    for (const id of schedule.beginningAfter(clock.utcMs() + dayMs)) {
      if (told.has(id)) continue;
      told.add(id);
      parts.log.warn({ key: id }, futureText);
    }
  };

  const destroyOld = async (): Promise<void> => {
    if (clock.monotonicMs() - steady.sinceMs < destroysAfterSteadyMs) return;
    const graceMs = parts.settings.now.rotationGraceDays * dayMs;
    for (const { id, tenant, version, keep } of schedule.overfull(clock.utcMs(), graceMs)) {
      if (stop.signal.aborted) return;
      if (!mayTry(id)) continue;
      const named = await parts.keyring.describe(tenant, id);
      if (!named.ok) tell(id, 'pruned', named);
      else if (await destroyed(id, tenant, oldOf(named.value, version - keep))) schedule.pruned(id, version);
    }
  };

  let underWay: Promise<void> | undefined;
  const look = (): Promise<void> => {
    noteTime();
    tellOfFuture();
    underWay ??= rotateDue()
      .then(destroyOld)
      .catch((cause: unknown) => parts.log.error({ err: cause }, 'the schedule of keys failed: a bug'))
      .finally(() => {
        underWay = undefined;
      });
    return underWay;
  };
  metrics.scheduled(
    () => schedule.size,
    () => schedule.due(clock.utcMs()).length,
  );
  const timer = setInterval(
    whereClockIsSteady(clock, steadyMs, () => void look()),
    lookEveryMs,
  );
  timer.unref();
  return {
    look,
    async close() {
      clearInterval(timer);
      stop.abort();
      await underWay;
    },
  };
}

const futureText =
  'THE DAYS OF A KEY BEGIN IN THE FUTURE: the clock was ahead when it was made or rotated; rotate it by hand';

/** Up to this one. */
function oldOf({ versions }: KeyDescription, last: number): readonly number[] {
  return versions
    .filter(({ state, version }) => state === 'active' && version <= last)
    .map(({ version }) => version);
}

function callerFor(tenant: string): Caller {
  const placement = { environments: 'all', planes: 'all', module: scheduleActor } as const;
  return { tenant, actor: scheduleActor, scopes: new Set(['kms:rotate', 'kms:destroy']), placement };
}

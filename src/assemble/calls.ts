import type { Admission } from '../admission/admission.ts';
import { FloodGuard, type ThreadGuard, unguarded } from '../admission/flood-guard/flood-guard.ts';
import { algorithmNames, findAlgorithm, registry } from '../algorithms/registry.ts';
import type { AuditRecorder } from '../audit/audit-log.ts';
import type { Authenticator } from '../auth/auth.ts';
import type { Config } from '../config/load.ts';
import type { LiveConfig, Reloadable } from '../config/reload.ts';
import { createCancellation } from '../core/cancellation.ts';
import { systemClock } from '../core/clock.ts';
import type { FailureCode } from '../core/failure.ts';
import type { Result } from '../core/result.ts';
import type { Custody } from '../custody/custody.ts';
import { createCostTable } from '../dispatch/costs.ts';
import type { BatchWork } from '../dispatch/work.ts';
import type { BatchResult } from '../engine/batch.ts';
import type { Keyring } from '../keys/keyring.ts';
import { type AuditDurability, softwareBackend } from '../keys/record.ts';
import type { Metrics } from '../observe/metrics.ts';
import { type CountedReason, countRefusal, gaugeHeldRefusals } from '../observe/refusals.ts';
import { createLifecycleMetrics } from '../observe/series/lifecycle-metrics.ts';
import { gaugePqPolicy } from '../observe/series/pq-metrics.ts';
import { keyringWithout } from '../operations/deks/hidden-kek.ts';
import { createDekOperations, type DekOperations } from '../operations/deks/operations.ts';
import type { DekParts } from '../operations/deks/parts.ts';
import { createDenials } from '../operations/denials.ts';
import type { CallReceipts, OperationParts } from '../operations/operation.ts';
import { createOperations, type Operations } from '../operations/operations.ts';
import { createCallReceipts } from '../operations/receipts/call-receipts.ts';
import type { EventFeeds } from '../operations/receipts/event-feeds.ts';
import type { WebhookParts } from '../operations/receipts/webhooks.ts';
import { createTokenJournal } from '../operations/recording/journals.ts';
import { createUseRecorder, recordsNothing, type UseRecorder } from '../operations/recording/use-recorder.ts';
import { WrappingKeys } from '../operations/sealing/wrapping-keys.ts';
import { createTrustJournal } from '../operations/trust/journal.ts';
import type { TrustParts } from '../operations/trust/parts.ts';
import { createRequestPath, type RequestPath } from '../request-path.ts';
import type { DurableCounts } from '../store/durable-counts.ts';
import { createAdmission } from './admission.ts';
import type { OpenedAudit } from './audit.ts';
import type { OpenedCapabilities } from './capabilities.ts';
import { type Cryptography, type Tuning, weightOf } from './cryptography.ts';
import { createKeyUses } from './key-uses.ts';
import type { PolicyParts } from './policy.ts';
import { pqPolicyOf } from './pq-policy.ts';
import type { OpenedRootKey } from './store/root-key.ts';

/** Who may call, what can be called, and the way of every call. */
export interface Calls extends Reloadable {
  readonly authenticator: Authenticator;
  /** Of now. Whoever calls one takes `requestPath` in the same turn of the event loop. */
  readonly operations: Operations;
  /** Of data encryption keys; undefined where the configuration wants none. Of now, too. */
  readonly dekOperations: DekOperations | undefined;
  /** A call keeps the settings with which it came in, to its end. */
  readonly requestPath: RequestPath;
  /** The same way for callers whom somebody else knows. */
  requestPathFor(authenticator: Authenticator): RequestPath;
  /** Counts a change that the service made by itself. */
  readonly done: (operation: string, result: 'ok' | FailureCode) => void;
}

export interface CallParts {
  readonly cryptography: Cryptography;
  readonly keyring: Keyring;
  readonly counts: DurableCounts;
  readonly audit: OpenedAudit;
  /** Takes what happens, whether or not a log is kept. */
  readonly recorder: AuditRecorder;
  readonly evidence: OperationParts['evidence'];
  readonly feeds: EventFeeds;
  readonly webhooks: WebhookParts | undefined;
  readonly trust: TrustParts['trust'];
  readonly capabilities: OpenedCapabilities;
  readonly rootKey: OpenedRootKey;
  readonly deks: DekParts | undefined;
  readonly policy: PolicyParts;
  readonly metrics: Metrics;
  readonly queueOf: Tuning['queueOf'];
}

/** All that calls have of one configuration. */
interface Snapshot {
  readonly admission: Admission;
  readonly level: AuditDurability;
  readonly audit: UseRecorder;
  readonly receipts: CallReceipts | undefined;
  readonly operations: Operations;
  readonly dekOperations: DekOperations | undefined;
  /** The way of calls, with the policy that is in force now. */
  readonly pathWith: (authenticator: Authenticator, guard: ThreadGuard) => RequestPath;
}

export function createCalls(settings: LiveConfig, parts: CallParts): Calls {
  const { cryptography, metrics, policy } = parts;
  const { authenticator } = parts.capabilities;
  const floodGuard = createFloodGuard(settings, parts.queueOf);
  gaugeHeldRefusals(metrics, () => floodGuard.heldRefusals);
  gaugePqPolicy(metrics, () => pqPolicyOf(settings.now));
  const costs = createCostTable(registry);
  const lifecycle = createLifecycleMetrics(metrics);
  const wrappingKeys = new WrappingKeys(cryptography.custodies.get(softwareBackend) as Custody, systemClock);
  parts.rootKey.root.onRefresh((anew) => wrappingKeys.renew(anew));
  const shared = {
    clock: systemClock,
    signatures: cryptography.lane,
    observer: {
      done(
        op: string,
        alg: string,
        result: Parameters<ReturnType<Metrics['operation']>['done']>[0],
        seconds: number,
      ) {
        metrics.operation(op, alg).done(result, seconds);
        lifecycle.done(op, result);
        if (result === 'ok') cryptography.load.done(op, alg, seconds);
      },
      itemRefused: (reason: CountedReason) => countRefusal(metrics, reason),
    },
  };
  const snapshot = (config: Config, before?: Snapshot): Snapshot => {
    const { auditDurability: level } = config;
    const admission = createAdmission(config, before?.admission);
    const keyUses = createKeyUses(config, parts.counts);
    const same = before?.level === level ? before : undefined;
    const audit = same?.audit ?? useRecorder(level, parts);
    const receipts = same === undefined ? callReceipts(level, parts) : same.receipts;
    const operationParts = operationPartsOf(config, parts, {
      ...{ costs, admission, wrappingKeys, derived: lifecycle.derived },
    });
    return {
      ...{ admission, audit, receipts, level },
      operations: createOperations(
        parts.deks === undefined
          ? operationParts
          : { ...operationParts, keyring: keyringWithout(parts.keyring, parts.deks.keks.id) },
      ),
      dekOperations: parts.deks && createDekOperations(operationParts, parts.deks),
      pathWith: (authenticator, floodGuard) =>
        createRequestPath({
          ...{ ...shared, authenticator, floodGuard, admission, keyUses, audit, receipts },
          policy: policy.policy,
        }),
    };
  };
  let now = snapshot(settings.now);
  let path = now.pathWith(authenticator, floodGuard);
  policy.onChange(() => {
    path = now.pathWith(authenticator, floodGuard);
  });
  return {
    authenticator,
    get operations() {
      return now.operations;
    },
    get dekOperations() {
      return now.dekOperations;
    },
    requestPath: (call) => path(call),
    requestPathFor(other) {
      let made = path;
      let own = now.pathWith(other, unguarded);
      return (call) => {
        // Settings or policy have changed since.
        if (made !== path) own = now.pathWith(other, unguarded);
        made = path;
        return own(call);
      };
    },
    done: lifecycle.done,
    prepare(config) {
      const next = snapshot(config, now);
      return {
        commit() {
          now = next;
          path = now.pathWith(authenticator, floodGuard);
        },
      };
    },
  };
}

function operationPartsOf(
  config: Config,
  {
    cryptography,
    keyring,
    audit,
    recorder,
    evidence,
    feeds,
    webhooks,
    trust,
    capabilities,
    policy,
    rootKey,
  }: CallParts,
  {
    admission,
    ...shared
  }: { admission: Admission } & Pick<OperationParts, 'costs' | 'derived' | 'wrappingKeys'>,
): Parameters<typeof createOperations>[0] {
  return {
    ...{ ...shared, keyring, custodies: cryptography.custodies, backends: cryptography.backends },
    rootKey: rootKey.view,
    allowedAlgorithms: allowedAlgorithms(config),
    lacking: new Set(cryptography.description.lacks),
    maxKeysPerTenant: config.keysPerTenant,
    rotationOf: scheduleByAlgorithm(config),
    lifecycle: {
      approvals: capabilities.approvals,
      usesPerDay: placedUsesPerDay(config),
      graceMs: rotationGraceMs(config),
    },
    ...{ audit: audit.parts, evidence, feeds, webhooks },
    pqPolicy: pqPolicyOf(config),
    clock: systemClock,
    timeSkewToleranceMs: config.timeSkewToleranceMs,
    tokens: {
      authority: capabilities.authority,
      journal: createTokenJournal(recorder),
      clock: systemClock,
      identities: policy.identities,
    },
    trust: { trust, approvals: capabilities.approvals, journal: createTrustJournal(recorder) },
    load: (onlyTenant) => cryptography.load.report(onlyTenant),
    mayMake: (tenant) => admission.enter(tenant, 'kms:create', systemClock.monotonicMs()),
    runWork: (tenant, work) => runWork(cryptography, tenant, work),
  };
}

/** As long as a tenant's RSA keys may take to come to their turn. */
const ownWorkDeadlineMs = 30_000;

export async function runWork(
  { lane }: Cryptography,
  tenant: string,
  work: BatchWork,
): ReturnType<OperationParts['runWork']> {
  const offeredAtMs = systemClock.monotonicMs();
  const deadlineAtMs = offeredAtMs + ownWorkDeadlineMs;
  const terms = { tenant, offeredAtMs, deadlineAtMs, cancellation: createCancellation() };
  const [outcome] = await lane.runAll([work], terms);
  return outcome as Result<readonly BatchResult[]>;
}

function useRecorder(level: AuditDurability, { audit: { recorder }, keyring }: CallParts): UseRecorder {
  if (recorder === undefined) return recordsNothing;
  const denials = createDenials(recorder, level, keyring, systemClock);
  return createUseRecorder(recorder, level, denials);
}

function callReceipts(level: AuditDurability, { audit: { recorder } }: CallParts): CallReceipts | undefined {
  return recorder === undefined ? undefined : createCallReceipts(recorder, level, systemClock);
}

function createFloodGuard(settings: LiveConfig, queueOf: Tuning['queueOf']): FloodGuard {
  return new FloodGuard({
    ...{ clock: systemClock, queueOf, utilization: eventLoopUse() },
    soon: (callBack) => void setImmediate(callBack),
    weightOf: (tenant) => weightOf(settings.now, tenant),
    get queueTargetMs() {
      return settings.now.queueTargetMs;
    },
  });
}

/** How long a version that was replaced is expected to be in use. */
export function rotationGraceMs({ rotationGraceDays }: Pick<Config, 'rotationGraceDays'>): number {
  return rotationGraceDays * 86_400_000;
}

/** Signatures and encryptions by one key with a placement in a day of UTC; Infinity is no limit. */
export function placedUsesPerDay({ placedKeyUsesPerDay: uses }: Config): number {
  return uses === 0 ? Number.POSITIVE_INFINITY : uses;
}

/** The schedules that are configured for new keys, by the canonical names of their algorithms. */
export function configuredRotationDays({ rotation }: Config): Readonly<Record<string, number>> {
  return Object.fromEntries(
    Object.entries(rotation).map(([name, count]) => [findAlgorithm(name)?.name ?? name, count]),
  );
}

function scheduleByAlgorithm(config: Config): OperationParts['rotationOf'] {
  const days = new Map(Object.entries(configuredRotationDays(config)));
  return (algorithm) => {
    const afterDays = days.get(algorithm);
    return afterDays === undefined ? undefined : { afterDays };
  };
}

/** Canonical names of the algorithms that may be created and used. */
export function allowedAlgorithms({ allowedAlgs }: Config): ReadonlySet<string> {
  if (allowedAlgs === 'all') return new Set(algorithmNames);
  return new Set(allowedAlgs.flatMap((name) => findAlgorithm(name)?.name ?? []));
}

/** The part of this thread's time that was not spent waiting for something to happen, since it was last asked. */
function eventLoopUse(): () => number {
  let before = performance.eventLoopUtilization();
  return () => {
    const now = performance.eventLoopUtilization();
    const { utilization } = performance.eventLoopUtilization(now, before);
    before = now;
    return utilization;
  };
}

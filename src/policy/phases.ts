import { hash } from 'node:crypto';
import type { Component } from '../algorithms/descriptor.ts';
import type { HybridMode, PqPhase } from '../core/hybrid-mode.ts';
import { pqPhases } from '../core/hybrid-mode.ts';
import { isWeaker } from './consult.ts';
import { isClassical, isPostQuantum } from './hybrid.ts';

/** How far the migration to post-quantum signatures is, for everybody at once. Plain data: a change replaces it whole. */
export interface PqPolicy {
  /** `none`: nobody migrates but `tenants`. */
  readonly phase: PqPhase | 'none';
  /** True: hybrid keys sign with all their parts where a call does not say otherwise. */
  readonly produceHybrid: boolean;
  /** 0 to 100: of the pairs of tenant and purpose, the part that follows `phase`; the others follow the phase before it. */
  readonly rolloutPercent: number;
  /** Phases by tenant, or by `tenant/purpose`; undefined where nobody has one of its own. */
  readonly tenants: Readonly<Record<string, PqPhase>> | undefined;
  /** UTC milliseconds: classical versions that were made before `madeBefore` verify alone until `until`. */
  readonly grace: { readonly madeBefore: number; readonly until: number } | undefined;
}

export const noPqPolicy: PqPolicy = {
  phase: 'none',
  produceHybrid: true,
  rolloutPercent: 100,
  tenants: undefined,
  grace: undefined,
};

/** False, as where nobody migrates: calls need not be looked at. */
export function demandsAnything({ phase, tenants }: PqPolicy): boolean {
  return phase !== 'none' || tenants !== undefined;
}

/** What policy looks at in a key that a call names. */
export interface NamedKey {
  readonly tenant: string;
  readonly purpose: string;
  readonly components: readonly Component[];
  /** Of the version, UTC milliseconds. */
  readonly createdAtMs: number;
}

/** 0 to 99, the same for good: the first 4 bytes of SHA-256 of `<tenant>/<purpose>`, big-endian, modulo 100. */
export function bucketOf(tenant: string, purpose: string): number {
  return Number.parseInt(hash('sha256', `${tenant}/${purpose}`).slice(0, 8), 16) % 100;
}

/** Undefined where no phase holds: nothing is demanded, and keys sign as they are. */
export function phaseOf(policy: PqPolicy, tenant: string, purpose: string): PqPhase | undefined {
  const { phase, rolloutPercent, tenants } = policy;
  const own = ownPhase(tenants, `${tenant}/${purpose}`) ?? ownPhase(tenants, tenant);
  if (own !== undefined) return own;
  if (phase === 'none') return undefined;
  if (rolloutPercent === 100 || bucketOf(tenant, purpose) < rolloutPercent) return phase;
  return pqPhases[Math.max(0, pqPhases.indexOf(phase) - 1)];
}

function ownPhase(tenants: PqPolicy['tenants'], name: string): PqPhase | undefined {
  return tenants !== undefined && Object.hasOwn(tenants, name) ? tenants[name] : undefined;
}

/** What policy asks of the signatures of one call. */
export interface Demand {
  /** The strictest mode that one of the keys is under; undefined where policy says nothing. */
  readonly mode: HybridMode | undefined;
  /** The mode that counts where the call names none. */
  readonly standard: HybridMode;
  /** One for each key: true if it may be classical and alone, for the time of grace. */
  readonly excused: readonly boolean[];
}

/** `ruled`: the mode by which rules bind the call, whatever the phase. */
export function demandOn(
  policy: PqPolicy,
  keys: readonly NamedKey[],
  ruled: HybridMode | undefined,
  nowMs: () => number,
): Demand {
  const phases = keys.map(({ tenant, purpose }) => phaseOf(policy, tenant, purpose));
  const excused = keys.map((key) => ruled === undefined && hasGrace(policy, key, nowMs));
  let mode = ruled;
  for (const [n, phase] of phases.entries()) {
    const asked = phase === 'off' ? undefined : phase !== undefined && excused[n] ? 'or' : phase;
    if (asked !== undefined && (mode === undefined || isWeaker(mode, asked))) mode = asked;
  }
  return { mode, standard: mode ?? (phases.includes('off') ? 'or' : 'and'), excused };
}

function hasGrace({ grace }: PqPolicy, key: NamedKey, nowMs: () => number): boolean {
  if (grace === undefined || key.components.some(isPostQuantum)) return false;
  return key.createdAtMs < grace.madeBefore && nowMs() < grace.until;
}

/** True if this part of a key signs where the call says neither a mode nor an alg. */
export function signsByDefault(
  { produceHybrid }: PqPolicy,
  phase: PqPhase | undefined,
  components: readonly Component[],
  part: Component,
): boolean {
  const halves = components.some(isPostQuantum) && components.some(isClassical);
  if (!halves || phase === undefined || phase === 'and') return true;
  if (phase === 'off') return isClassical(part);
  return produceHybrid || (phase === 'or' ? isClassical(part) : isPostQuantum(part));
}

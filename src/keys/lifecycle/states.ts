import type { KeyHead, KeyVersion } from '../record.ts';

export const lifecycleStates = ['active', 'pending_rotation', 'archived', 'destroyed'] as const;
export type LifecycleState = (typeof lifecycleStates)[number];

/** ISO 8601 P7D. A version that was replaced is expected to be in use for so long. */
export const usualGraceMs = 7 * 86_400_000;

/**
 * The state of a version at a moment, UTC in milliseconds: it follows from the records, and no timer changes it. `active` makes
 * something new; `pending_rotation` was replaced less than the grace ago; `archived` was replaced longer ago, was archived, or is
 * past the end of its key: both still open and verify. Nothing leaves `destroyed`.
 */
export function lifecycleOf(
  head: Pick<KeyHead, 'state' | 'currentVersion' | 'validUntilMs'>,
  version: Pick<KeyVersion, 'version' | 'state' | 'createdAtMs' | 'replacedAtMs' | 'archivedAtMs'>,
  nowMs: number,
  graceMs: number = usualGraceMs,
): LifecycleState {
  const isCurrent = version.version === head.currentVersion;
  if (version.state === 'destroyed' || (isCurrent && head.state === 'destroyed')) return 'destroyed';
  if (nowMs >= archivalOf(head, version, graceMs)) return 'archived';
  return isCurrent ? 'active' : 'pending_rotation';
}

/** The moment from which a version is archived; undefined while it is not. */
export function archivedSince(
  head: Parameters<typeof lifecycleOf>[0],
  version: Parameters<typeof lifecycleOf>[1],
  nowMs: number,
  graceMs: number = usualGraceMs,
): number | undefined {
  if (lifecycleOf(head, version, nowMs, graceMs) !== 'archived') return undefined;
  return archivalOf(head, version, graceMs);
}

/** Infinity where nothing archives it. Who archives it now does so at once, whatever other clocks say. */
function archivalOf(
  head: Parameters<typeof lifecycleOf>[0],
  version: Parameters<typeof lifecycleOf>[1],
  graceMs: number,
): number {
  const { validUntilMs = Number.POSITIVE_INFINITY } = head;
  const { replacedAtMs = version.createdAtMs } = version;
  const graceEndsAtMs =
    version.version === head.currentVersion ? Number.POSITIVE_INFINITY : replacedAtMs + graceMs;
  return Math.min(version.archivedAtMs ?? Number.POSITIVE_INFINITY, validUntilMs, graceEndsAtMs);
}

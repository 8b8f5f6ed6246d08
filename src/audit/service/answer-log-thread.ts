import { setImmediate } from 'node:timers/promises';
import { ok, type Result } from '../../core/result.ts';
import type { Anchor } from '../disk/anchor.ts';
import { type KeyStatePage, keyState, unreadable } from '../disk/logged-keys.ts';
import { signCheckpoint } from '../format/checkpoint.ts';
import type { AnswerTo, Question } from '../thread-messages.ts';
import type { AuditLogParts } from './parts.ts';

/** Keys that go to the log's thread in one message, about 5 MB. */
const keysTogether = 50_000;
/** A store that hangs must not hold the writer for ever. */
const checkpointTimeoutMs = 10_000;

/**
 * Answers a question of the log's thread, from the thread that has keys, store and network. Never rejects: undefined is asked
 * again.
 */
export async function answerTo(parts: AuditLogParts, question: Question): Promise<AnswerTo> {
  try {
    switch (question.of) {
      case 'identity':
        return await identify(parts, question.origin);
      case 'keys':
        return await pageOfKeys(parts, question.after);
      case 'witnessed':
        return await witnessed(parts, question.origin);
      case 'checkpoint':
        return await within(checkpointTimeoutMs, signAndAnchor(parts, question));
    }
  } catch (error) {
    parts.report('audit_checkpoint_failed', error instanceof Error ? error.message : 'unknown');
    return undefined;
  }
}

async function identify({ checkpointKeys, anchors }: AuditLogParts, origin: string): Promise<AnswerTo> {
  const { signers, trusted = [] } = await checkpointKeys(origin);
  const vkeys = [...new Set([...signers.map(({ vkey }) => vkey), ...trusted])];
  const anchor: Result<Anchor | undefined> = (await anchors?.load()) ?? ok(undefined);
  if (!anchor.ok) {
    if (anchor.failure.code !== 'AuditUnavailable') return undefined;
    return { vkeys, anchor: undefined, anchorRejected: true };
  }
  return { vkeys, anchor: anchor.value, anchorRejected: false };
}

async function pageOfKeys(
  { keys }: AuditLogParts,
  from: string | undefined,
): Promise<KeyStatePage | undefined> {
  const [ids, states]: [string[], number[]] = [[], []];
  for (let after = from; keys !== undefined && ids.length < keysTogether; after = ids.at(-1)) {
    const page = await keys.page(after);
    if (!page.ok) return undefined;
    for (const { id, version, destroyed } of page.value) {
      ids.push(id);
      states.push(version === undefined ? unreadable : keyState(version, destroyed));
    }
    if (page.value.length === 0) return { ids, states, next: undefined };
    await setImmediate();
  }
  return { ids, states, next: ids.at(-1) };
}

async function witnessed({ witnessed, report }: AuditLogParts, origin: string): Promise<AnswerTo> {
  const held = (await witnessed?.(origin)) ?? ok([]);
  if (held.ok) return { witnessed: held.value };
  report('audit_witness_failed', held.failure.hint ?? held.failure.code);
  return undefined;
}

/** Signed, then anchored: only then may anyone see it. */
async function signAndAnchor(
  { checkpointKeys, anchors, report }: AuditLogParts,
  { origin, epoch, size, root, bootId }: Extract<Question, { of: 'checkpoint' }>,
): Promise<AnswerTo> {
  const { signers } = await checkpointKeys(origin);
  const note = await signCheckpoint({ origin, size, root }, signers, Math.floor(Date.now() / 1000));
  const saved = await anchors?.save({ origin, epoch, size, root, bootId });
  if (saved !== undefined && !saved.ok) {
    report('audit_checkpoint_failed', saved.failure.code);
    return undefined;
  }
  return { note };
}

async function within<T>(limitMs: number, promise: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error('took too long')), limitMs);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

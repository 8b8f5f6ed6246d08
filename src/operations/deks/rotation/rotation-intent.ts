import { ok, type Refused, type Result, refuse } from '../../../core/result.ts';
import { authenticated, openAuthenticated, type RecordMac } from '../../../keys/authenticity.ts';
import type { Store } from '../../../store/store.ts';

/** A rotation of the KEK that was asked for. Its record is in the store from before the first step to after the last. */
export interface RotationIntent {
  /** The version of the KEK that DEKs go over to. */
  readonly target: number;
  readonly actor: string;
  /** The KEK comes in the clear: no disk has it before it is made. */
  readonly given?: true;
}

interface IntentParts {
  readonly store: Store;
  readonly mac: RecordMac;
}

const intentKey = 'dek-rotation';
const notAuthentic = refuse('Internal');

/** Undefined: no rotation is asked for. Internal: the record is not authentic. */
export async function readIntent({ store, mac }: IntentParts): Promise<Result<RotationIntent | undefined>> {
  const entry = await store.get(intentKey);
  if (!entry.ok) return entry;
  if (entry.value === undefined) return ok(undefined);
  const opened = openAuthenticated(intentKey, entry.value.value, mac);
  if (opened === undefined) return notAuthentic;
  return ok(JSON.parse(Buffer.from(opened.text).toString()));
}

/** Durable when it resolves. */
export async function writeIntent(
  { store, mac }: IntentParts,
  intent: RotationIntent,
): Promise<Refused | undefined> {
  const value = authenticated(intentKey, JSON.stringify({ v: 1, ...intent }), mac);
  const outcome = await store.commit([{ key: intentKey, value }]);
  return outcome.ok ? undefined : outcome;
}

/** Durable when it resolves. */
export async function clearIntent({ store }: Pick<IntentParts, 'store'>): Promise<Refused | undefined> {
  const outcome = await store.commit([{ key: intentKey, value: undefined }]);
  return outcome.ok ? undefined : outcome;
}

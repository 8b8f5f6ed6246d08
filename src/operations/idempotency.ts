import { hash } from 'node:crypto';
import type { CallFacts } from '../core/scope.ts';
import { canonicalJson } from '../keys/canonical-json.ts';
import type { OperationId } from '../keys/keyring.ts';

/** The client's own name for a change. */
export interface ChangeName {
  /** UUID (RFC 9562), any case. */
  readonly id: string;
  /**
   * The request without its name, plain JSON, as a dialect spelled it. Earlier versions recorded the digest of that; a
   * dialect that came later has no such records and leaves it away.
   */
  readonly spelled?: unknown;
}

/**
 * The keyring's name for a change; nothing when the client gave none. `meaning` is the typed request in one plain spelling,
 * without members that say what holds anyway. Its digest is in the store for a week, so its members are never renamed.
 */
export function operationIdOf(
  name: ChangeName | undefined,
  meaning: unknown,
): { readonly operation?: OperationId } {
  if (name === undefined) return {};
  return { operation: { id: name.id, body: name.spelled ?? meaning, meaning } };
}

/** The facts of a change for capabilities: `meaning` as above. */
export function changeFacts(
  name: ChangeName | undefined,
  meaning: unknown,
): Pick<CallFacts, 'changes' | 'opId' | 'requestSha256'> {
  return {
    changes: true,
    opId: name?.id,
    requestSha256: () => hash('sha256', canonicalJson(meaning)),
  };
}

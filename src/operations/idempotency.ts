import type { OperationId } from '../keys/keyring.ts';

/**
 * The client's name for a change, with the request that it stands for; nothing when the client gave none. `meaning` is the
 * request's one plain spelling: without members that say what holds anyway.
 */
export function operationIdOf(
  request: { readonly op_id?: string },
  meaning: unknown,
): { readonly operation?: OperationId } {
  const { op_id, ...body } = request;
  return op_id === undefined ? {} : { operation: { id: op_id, body, meaning } };
}

import type { OperationId } from '../keys/keyring.ts';

/** The client's name for a change, with the request that it stands for; nothing when the client gave none. */
export function operationIdOf(request: { readonly op_id?: string }): { readonly operation?: OperationId } {
  const { op_id, ...body } = request;
  return op_id === undefined ? {} : { operation: { id: op_id, body } };
}

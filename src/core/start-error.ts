/** Why the service does not start, in words for the operator: what is wrong and what to do. Never a secret. */
export class StartError extends Error {
  override readonly name = 'StartError';
}

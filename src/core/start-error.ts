/** The reason why the service does not start, in words for the operator: the fault and its remedy. Never a secret. */
export class StartError extends Error {
  override readonly name = 'StartError';
}

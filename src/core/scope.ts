/** The uses that a capability may permit, the closed list of the HTTP surface. */
export const scopes = [
  'kms:create',
  'kms:read',
  'kms:sign',
  'kms:verify',
  'kms:wrap',
  'kms:unwrap',
  'kms:encrypt',
  'kms:decrypt',
  'kms:derive',
  'kms:rotate',
  'kms:destroy',
  'kms:audit',
  'kms:admin',
] as const;

export type Scope = (typeof scopes)[number];

/** The caller and its permissions: the outcome of authentication. */
export interface Caller {
  readonly tenant: string;
  readonly scopes: ReadonlySet<Scope>;
  /** Pseudonymous identity of the capability for logs and audit; never the token or a part of it. */
  readonly actor: string;
}

/** True if these scopes permit `scope`. `kms:rotate` also permits creating keys. The only place that knows this rule. */
export function grants(granted: ReadonlySet<Scope>, scope: Scope): boolean {
  return granted.has(scope) || (scope === 'kms:create' && granted.has('kms:rotate'));
}

export function permits(caller: Caller, scope: Scope): boolean {
  return grants(caller.scopes, scope);
}

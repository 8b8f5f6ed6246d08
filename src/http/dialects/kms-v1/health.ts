import type { Readiness } from '../../../observe/health.ts';

type CheckStatus = 'pass' | 'warn' | 'fail';

interface HealthCheck {
  readonly name: 'hsm' | 'storage' | 'trust_store';
  readonly status: CheckStatus;
  readonly detail: string;
}

export interface HealthAnswer {
  readonly status: 'healthy' | 'degraded' | 'unhealthy';
  readonly checks: readonly HealthCheck[];
}

/** Conditions of the service by the check that they belong to. */
const conditions: Readonly<Record<HealthCheck['name'], (condition: string) => boolean>> = {
  hsm: (name) => name === 'crypto_workers' || name === 'attestation' || name.startsWith('backend_'),
  storage: (name) => name === 'store' || name === 'audit_ready',
  trust_store: (name) => name === 'store' || name.startsWith('trust'),
};

/** Without it nothing new is kept, though what is there is served. */
const fails = (name: HealthCheck['name'], condition: string) => name === 'storage' && condition === 'store';

/**
 * Readiness in the words of this surface. A service that is not ready is unhealthy, whichever condition it lacks; one whose checks do
 * not all pass is degraded. What else is wanted and missing, such as a synchronised clock, /readyz says.
 */
export function healthOf({ ready, missing, degraded }: Readiness): HealthAnswer {
  const checks = (['hsm', 'storage', 'trust_store'] as const).map((name): HealthCheck => {
    const lacking = missing.filter(conditions[name]);
    const wanting = degraded.filter(conditions[name]);
    const failing = [...lacking, ...wanting.filter((one) => fails(name, one))];
    if (failing.length > 0) return { name, status: 'fail', detail: `does not hold: ${failing.join(', ')}` };
    if (wanting.length > 0) return { name, status: 'warn', detail: `does not hold: ${wanting.join(', ')}` };
    return { name, status: 'pass', detail: 'ok' };
  });
  const whole = checks.every(({ status }) => status === 'pass');
  return { status: !ready ? 'unhealthy' : whole ? 'healthy' : 'degraded', checks };
}

/** Whether keys can be used: of a module’s own, or of tokens. */
export function hsmAvailable(readiness: Readiness): boolean {
  return healthOf(readiness).checks.every(({ name, status }) => name !== 'hsm' || status !== 'fail');
}

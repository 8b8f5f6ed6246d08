import type { Config } from '../fields.ts';
import { isLoopback } from '../listen-kinds.ts';

/** Settings of identity that contradict each other, or would open the surface to the network. */
export function findIdentityContradictions(config: Config, problems: string[]): void {
  const { m33Jwks, m33JwtIssuer, m33JwtAudience, m33DevIdentity, m33DevApprovals } = config;
  const given = [m33Jwks !== 'none', m33JwtIssuer !== '', m33JwtAudience !== ''];
  if (given.includes(true) && given.includes(false)) {
    problems.push('KMS_M33_JWKS, KMS_M33_JWT_ISSUER and KMS_M33_JWT_AUDIENCE belong together: set all three');
  }
  if (m33DevApprovals.length > 0 && !m33DevIdentity) {
    problems.push('KMS_M33_DEV_APPROVALS is for development: it needs KMS_M33_DEV_IDENTITY=true');
  }
  if (!m33DevIdentity) return;
  if (config.listen.some((each) => each.scheme !== 'unix' && !isLoopback(each.host))) {
    problems.push(
      'KMS_M33_DEV_IDENTITY=true lets anybody be anybody: it is refused unless every listener is loopback',
    );
  }
  if (config.trustedProxies.length > 0) {
    problems.push(
      'KMS_M33_DEV_IDENTITY=true is refused with KMS_TRUSTED_PROXIES: a proxy brings others to loopback',
    );
  }
}

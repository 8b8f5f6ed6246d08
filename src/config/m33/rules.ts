import type { Config } from '../fields.ts';

/** Settings of /kms/v1 that would do nothing, or too much. */
export function findM33Contradictions(
  { m33, m33DetailWrap, corsOrigins, environment, webhookTargets }: Config,
  problems: string[],
): void {
  if (m33DetailWrap && !m33) problems.push('KMS_M33_DETAIL_WRAP is for answers of /kms/v1: set KMS_M33=true');
  if (corsOrigins.length > 0 && !m33) problems.push('KMS_CORS_ORIGINS is for /kms/v1: set KMS_M33=true');
  if (webhookTargets !== 'public' && !m33)
    problems.push('KMS_WEBHOOK_TARGETS is for /kms/v1: set KMS_M33=true');
  if (webhookTargets === 'development' && environment !== 'development') {
    problems.push(
      'KMS_WEBHOOK_TARGETS=development sends events without TLS and to this machine: set KMS_ENVIRONMENT=development, or take public or private',
    );
  }
  if (corsOrigins.includes('*') && environment !== 'development') {
    problems.push(
      'KMS_CORS_ORIGINS=* lets every web page call: name origins, or set KMS_ENVIRONMENT=development',
    );
  }
}

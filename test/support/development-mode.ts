import type { Place } from './kms-v1.ts';

export const developmentPlace: Place = { tenant_id: 'mock-tenant', environment: 'dev', plane: 'laptop' };
export const developmentApproval = 'approval-token-123';
/** Of a service in development mode. */
export const developmentMode = {
  ...{ KMS_M33: 'true', KMS_M33_DEV_IDENTITY: 'true', KMS_M33_DEV_APPROVALS: developmentApproval },
};

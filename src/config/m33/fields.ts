import { field } from '../field.ts';
import { boolean, label, oneOf } from '../kinds.ts';
import { corsOrigins } from '../listen-kinds.ts';

type TargetRule = 'public' | 'private' | 'development';

/** Settings of the surface under /kms/v1; docs/kms-v1.md. */
export const m33Fields = {
  m33: field(
    'KMS_M33',
    boolean,
    false,
    'Serves the surface of the Key Management Service Module M33 under `/kms/v1` beside this product’s own; docs/kms-v1.md. With it the variables ENVIRONMENT, CORS_ORIGINS, HSM_ENDPOINT and HSM_CREDENTIALS are other names of KMS_ENVIRONMENT, KMS_CORS_ORIGINS, KMS_PKCS11_MODULE and KMS_PKCS11_PIN_FILE.',
  ),
  m33DetailWrap: field(
    'KMS_M33_DETAIL_WRAP',
    boolean,
    false,
    'Nests the error envelope of `/kms/v1` under `detail`, where clients of that module look for it that were written against FastAPI.',
    'reload',
  ),
  environment: field(
    'KMS_ENVIRONMENT',
    label,
    'production',
    'The name of the environment that this service runs in, for its log and `kms_service_info` of `/kms/v1/metrics`. `development` permits KMS_CORS_ORIGINS=*; no other name permits anything. It is not the environment of a key.',
  ),
  webhookTargets: field<TargetRule>(
    'KMS_WEBHOOK_TARGETS',
    oneOf<TargetRule>('public', 'private', 'development'),
    'public',
    'Where webhooks may go: https to addresses of the `public` network only, which are judged when the name is looked up and connected to; https to any address, also `private` and link-local ones; or `development`: http and this machine too, refused unless KMS_ENVIRONMENT is development.',
  ),
  corsOrigins: field<readonly string[]>(
    'KMS_CORS_ORIGINS',
    corsOrigins,
    { text: 'none', from: () => [] },
    'Origins of web pages that browsers let call `/kms/v1`, separated by commas: https://app.example.com. Cookies are never read, so that none are allowed. `*` is every page, and refused unless KMS_ENVIRONMENT is development. None by default.',
    'reload',
  ),
};

import { isAbsolute } from 'node:path';
import type { FieldName } from '../fields.ts';
import type { ConfigSources, Layer, Notes } from '../sources.ts';

/** Variables of the module of /kms/v1 that are settings of ours. */
export const otherNames: Readonly<Record<string, FieldName>> = {
  ENVIRONMENT: 'environment',
  CORS_ORIGINS: 'corsOrigins',
  HSM_ENDPOINT: 'pkcs11Module',
  HSM_CREDENTIALS: 'pkcs11PinFile',
};

/** These have values that say something else where an operator takes them for what they sound like; and a PIN is not repeated. */
const mistaken: Readonly<Record<string, (value: string) => string | undefined>> = {
  HSM_ENDPOINT: (value) =>
    isAbsolute(value)
      ? undefined
      : 'HSM_ENDPOINT must be the path of a PKCS#11 module: an HSM in a network is reached through that of its vendor',
  HSM_CREDENTIALS: (value) =>
    isAbsolute(value) || /^(fd|credential):/.test(value)
      ? undefined
      : 'HSM_CREDENTIALS must say where the PIN is, as KMS_PKCS11_PIN_FILE does, and not be the PIN itself',
};

/** Adds to the variables what they are given under the names of that module. A setting of our own name has to agree. */
export function takeOtherNames(env: ConfigSources['env'], variables: Layer, { problems }: Notes): void {
  for (const [variable, name] of Object.entries(otherNames)) {
    const value = env[variable];
    if (value === undefined) continue;
    const mistake = mistaken[variable]?.(value);
    const known = variables.get(name);
    if (mistake !== undefined) problems.push(mistake);
    else if (known !== undefined && known.value !== value)
      problems.push(`${known.as} and ${variable} are both set, and differ`);
    else variables.set(name, { origin: 'environment', as: variable, value });
  }
}

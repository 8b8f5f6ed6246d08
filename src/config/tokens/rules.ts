import type { Config } from '../fields.ts';
import { firstBackend } from './fields.ts';

/** Settings of tokens that say half of what is needed, or two things of one. */
export function findTokenContradictions(
  { pkcs11Module, pkcs11Token, pkcs11PinFile, pkcs11, tpm, tpmCounter, backend, amnesia }: Config,
  problems: string[],
): void {
  const given = [pkcs11Module, pkcs11Token, pkcs11PinFile].filter((value) => value !== 'none');
  if (given.length > 0 && given.length < 3) {
    problems.push('KMS_PKCS11_MODULE, KMS_PKCS11_TOKEN and KMS_PKCS11_PIN_FILE are needed together');
  }
  if (given.length > 0 && Object.hasOwn(pkcs11, firstBackend)) {
    problems.push(
      `KMS_PKCS11_MODULE is the backend ${firstBackend}: give the one in KMS_PKCS11 another name`,
    );
  }
  if (tpm !== 'none' && Object.hasOwn(pkcs11, 'tpm')) {
    problems.push('KMS_TPM is the backend tpm: give the one in KMS_PKCS11 another name');
  }
  if (tpmCounter === 0) return;
  if (tpm === 'none') problems.push('KMS_TPM_COUNTER needs KMS_TPM');
  if (amnesia || backend === 'memory')
    problems.push('KMS_TPM_COUNTER counts for a store on disk: it has none in memory');
}

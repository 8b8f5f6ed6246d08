import type { Config, FieldName } from './fields.ts';
import { findIdentityContradictions } from './identity/rules.ts';
import { findListenContradictions } from './listen-rules.ts';
import { findM33Contradictions } from './m33/rules.ts';
import { findPqContradictions } from './pq-rules.ts';
import { didYouMean } from './spellings.ts';
import { tokensOf } from './tokens/fields.ts';
import { findTokenContradictions } from './tokens/rules.ts';

/** Limits are checked against each other here, so that a contradiction stops a start and not a night. */
export function contradictionsIn(
  config: Config,
  isGiven: (name: FieldName) => boolean,
  algorithmNames: readonly string[],
): string[] {
  const problems: string[] = [];
  if (config.profile === 'macronode' && tokensOf(config).size === 0 && config.tpm === 'none') {
    problems.push(
      'KMS_PROFILE=macronode needs a token: KMS_PKCS11_MODULE, KMS_PKCS11_TOKEN and KMS_PKCS11_PIN_FILE, or KMS_TPM',
    );
  }
  if (config.amnesia && config.backend !== 'memory') {
    problems.push('KMS_AMNESIA keeps nothing on disk, so KMS_BACKEND must be memory');
  }
  if (config.audit === 'off' && config.backend !== 'memory') {
    problems.push(
      'KMS_AUDIT=off is only for KMS_BACKEND=memory: keys that outlive the process have a log that does',
    );
  }
  if (config.audit === 'on' && config.backend === 'memory') {
    problems.push('KMS_AUDIT=on needs a store that keeps the anchor: not KMS_BACKEND=memory');
  }
  if (config.audit === 'off' && isGiven('auditDir')) {
    problems.push('KMS_AUDIT=off writes no log, so KMS_AUDIT_DIR must not be set');
  }
  if (config.auditDurability === 'witnessed' && config.auditWitnessPolicy === 'none') {
    problems.push('KMS_AUDIT_DURABILITY=witnessed needs witnesses: KMS_AUDIT_WITNESS_POLICY');
  }
  // An answer waits 2 s for its record, witnessed ones too.
  if (config.auditWitnessPolicy !== 'none' && config.auditCheckpointIntervalMs > 1_000) {
    problems.push(
      'KMS_AUDIT_CHECKPOINT_INTERVAL_MS must not be more than 1000 with KMS_AUDIT_WITNESS_POLICY: answers would not wait so long',
    );
  }
  if (config.attestRequire && config.audit === 'off') {
    problems.push('KMS_ATTEST_REQUIRE needs evidence that the keys of the audit log sign: not KMS_AUDIT=off');
  }
  if (config.attestFailOpen && !config.attestRequire) {
    problems.push('KMS_ATTEST_FAIL_OPEN says what happens without evidence that KMS_ATTEST_REQUIRE asks for');
  }
  if (config.amnesia && isGiven('rootKeyFile')) {
    problems.push('KMS_AMNESIA makes its own root key in memory, so KMS_ROOT_KEY_FILE must not be set');
  }
  if (config.rootKeyFd !== 0) {
    if (config.rootKeyFd < 3)
      problems.push('KMS_ROOT_KEY_FD must be 3 or more: 1 and 2 are the output, and 0 is none');
    if (config.amnesia)
      problems.push('KMS_AMNESIA makes its own root key in memory, so KMS_ROOT_KEY_FD must not be set');
    if (isGiven('rootKeyFile'))
      problems.push('KMS_ROOT_KEY_FD and KMS_ROOT_KEY_FILE are two places of one key: set one of them');
  }
  findListenContradictions(config, isGiven, problems);
  findPqContradictions(config, problems);
  findM33Contradictions(config, problems);
  findIdentityContradictions(config, problems);
  findTokenContradictions(config, problems);
  if (config.queuePerTenant > config.queueTotal) {
    problems.push('KMS_QUEUE_PER_TENANT must not be more than KMS_QUEUE_TOTAL');
  }
  if (config.batchMaxItems > config.queuePerTenant) {
    problems.push(
      'KMS_BATCH_MAX_ITEMS must not be more than KMS_QUEUE_PER_TENANT: a full batch could never be taken',
    );
  }
  if (config.defaultDeadlineMs > config.signDeadlineMs) {
    problems.push('KMS_DEFAULT_DEADLINE_MS must not be more than KMS_SIGN_DEADLINE_MS');
  }
  if (config.signDeadlineMs > config.shutdownTimeoutMs) {
    problems.push(
      'KMS_SIGN_DEADLINE_MS must not be more than KMS_SHUTDOWN_TIMEOUT_MS: a stop would cut off calls within their deadline',
    );
  }
  for (const name of config.allowedAlgs === 'all' ? [] : config.allowedAlgs) {
    if (!algorithmNames.includes(name)) {
      problems.push(`KMS_ALLOWED_ALGS has an unknown algorithm ${name}${didYouMean(name, algorithmNames)}`);
    }
  }
  return problems;
}

import { createHash } from 'node:crypto';
import { unwatchFile, watchFile } from 'node:fs';
import { createIdentities, type Identities } from '../auth/identities/identities.ts';
import { createTokenVerifier, type TokenVerifier } from '../auth/identities/jwt.ts';
import { parseCaveat } from '../auth/macaroon/caveats.ts';
import type { Config } from '../config/load.ts';
import { type PolicyFile, parsePolicyFile } from '../config/policy-file.ts';
import type { Reloadable } from '../config/reload.ts';
import type { Clock } from '../core/clock.ts';
import { readRegularFile } from '../core/private-file.ts';
import { StartError } from '../core/start-error.ts';
import type { Logger } from '../observe/log.ts';
import { createOpaPolicy } from '../policy/opa.ts';
import type { Policy } from '../policy/policy.ts';
import { createRulesPolicy } from '../policy/rules.ts';

/** Policy and identities as the policy file and KMS_POLICY_URL have them. */
export interface PolicyParts extends Reloadable {
  /** Of now: another one when the file was read again. Undefined where neither a file nor an address is configured. */
  readonly policy: Policy | undefined;
  readonly identities: Identities;
  /** Calls back when the file was read again because it has changed, and is in force. */
  onChange(changed: () => void): void;
  /** Idempotent. */
  close(): void;
}

interface InForce {
  readonly file: ReadPolicy;
  readonly policy: Policy | undefined;
  readonly tokens: TokenVerifier;
  readonly identities: Identities;
}

/** A look at one file; Kubernetes takes a minute to bring a new one. */
const lookEveryMs = 2_000;

/** The file is read again when it changes; links are followed. Throws StartError where the file cannot be read, or has a problem. */
export function openPolicy(
  config: Pick<Config, 'policyFile' | 'policyUrl' | 'timeSkewToleranceMs'>,
  clock: Clock,
  log: Logger,
): PolicyParts {
  const { policyFile: path, policyUrl: url } = config;
  const remote =
    url === 'none'
      ? undefined
      : createOpaPolicy({
          url,
          clock,
          onFailure: (cause) => log.warn({ cause }, 'the policy service gave no decision'),
        });
  const put = (file: ReadPolicy, before?: InForce): InForce => {
    const tokens = tokensOf(file, before) ?? openTokens(file, config, clock, log);
    const policy = remote ?? (file.rules === undefined ? undefined : createRulesPolicy(file.rules));
    return { file, policy, tokens, identities: createIdentities(file, tokens) };
  };
  const read = readPolicy(path, remote !== undefined);
  if ('problems' in read) throw new StartError(`${path}: ${read.problems.join('; ')}`);
  let inForce = put(read);
  let changed = () => {};
  const take = (next: InForce) => {
    inForce = next;
    if (path !== 'none') log.info({ path }, 'the policy file was read again and is in force');
  };
  const reload = () => {
    const again = readPolicy(path, remote !== undefined);
    if ('problems' in again) {
      log.error(
        { path, problems: again.problems },
        'the policy file is NOT TAKEN, the one before stays in force',
      );
      return;
    }
    take(put(again, inForce));
    changed();
  };
  if (path !== 'none') watchFile(path, { persistent: false, interval: lookEveryMs }, reload);
  return {
    get policy() {
      return path === 'none' && url === 'none' ? undefined : (inForce.policy ?? allowsAll);
    },
    identities: { identify: (evidence) => inForce.identities.identify(evidence) },
    onChange(callBack) {
      changed = callBack;
    },
    prepare() {
      const again = readPolicy(path, remote !== undefined);
      if ('problems' in again) return { problems: again.problems.map((problem) => `${path}: ${problem}`) };
      const next = put(again, inForce);
      return {
        commit: () => take(next),
        ...(again.sha256 === inForce.file.sha256
          ? undefined
          : { contents: { policy_file: `sha256:${again.sha256}` } }),
      };
    },
    close: () => unwatchFile(path, reload),
  };
}

const allowsAll: Policy = { decide: () => ({ allow: true }) };

/** Those of before, with the keys that they have read, where the issuers are the same: an issuer may be out of reach now. */
function tokensOf({ issuers }: PolicyFile, before: InForce | undefined): TokenVerifier | undefined {
  return JSON.stringify(issuers) === JSON.stringify(before?.file.issuers) ? before?.tokens : undefined;
}

function openTokens(
  { issuers }: PolicyFile,
  { timeSkewToleranceMs }: Pick<Config, 'timeSkewToleranceMs'>,
  clock: Clock,
  log: Logger,
): TokenVerifier {
  return createTokenVerifier({
    ...{ issuers, clock, timeSkewToleranceMs },
    readFile: (keys) => readRegularFile(keys).toString(),
    onFailure: (issuer, cause) => log.warn({ issuer, cause }, 'the keys of an issuer cannot be had'),
  });
}

interface ReadPolicy extends PolicyFile {
  /** Of its text, in hex. */
  readonly sha256: string;
}

const nothing: ReadPolicy = { issuers: [], identities: [], rules: undefined, sha256: '' };

function readPolicy(path: string, hasRemote: boolean): ReadPolicy | { readonly problems: readonly string[] } {
  if (path === 'none') return nothing;
  let text: string;
  try {
    text = readRegularFile(path).toString();
  } catch (error) {
    return { problems: [`cannot be read (${(error as NodeJS.ErrnoException).code})`] };
  }
  const read = parsePolicyFile(text, (caveat) => parseCaveat(caveat) !== undefined);
  if (!read.ok) return read;
  return hasRemote && read.file.rules !== undefined
    ? { problems: ['rules beside KMS_POLICY_URL: only one of them decides'] }
    : { ...read.file, sha256: createHash('sha256').update(text).digest('hex') };
}

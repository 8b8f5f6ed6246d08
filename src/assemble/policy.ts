import { readFileSync } from 'node:fs';
import { createIdentities, type Identities } from '../auth/identities/identities.ts';
import { createTokenVerifier } from '../auth/identities/jwt.ts';
import { parseCaveat } from '../auth/macaroon/caveats.ts';
import type { Config } from '../config/load.ts';
import { type PolicyFile, parsePolicyFile } from '../config/policy-file.ts';
import type { Clock } from '../core/clock.ts';
import { StartError } from '../core/start-error.ts';
import type { Logger } from '../observe/log.ts';
import { createOpaPolicy } from '../policy/opa.ts';
import type { Policy } from '../policy/policy.ts';
import { createRulesPolicy } from '../policy/rules.ts';

/** Policy and identities as the policy file and KMS_POLICY_URL have them. */
export interface PolicyParts {
  /** Undefined where neither a file nor an address is configured: capabilities are all. */
  readonly policy: Policy | undefined;
  readonly identities: Identities;
  /** Reads the file again, whole or not at all: the problems, none where it is in force. */
  reload(): readonly string[];
}

interface InForce {
  readonly policy: Policy | undefined;
  readonly identities: Identities;
}

/** Throws StartError where the file cannot be read, or has a problem. */
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
  const put = (file: PolicyFile): InForce => ({
    policy: remote ?? (file.rules === undefined ? undefined : createRulesPolicy(file.rules)),
    identities: createIdentities(
      file,
      createTokenVerifier({
        ...{ issuers: file.issuers, clock, timeSkewToleranceMs: config.timeSkewToleranceMs },
        readFile: (keys) => readFileSync(keys, 'utf8'),
        onFailure: (issuer, cause) => log.warn({ issuer, cause }, 'the keys of an issuer cannot be had'),
      }),
    ),
  });
  const read = readPolicy(path, remote !== undefined);
  if ('problems' in read) throw new StartError(`${path}: ${read.problems.join('; ')}`);
  let inForce = put(read);
  const allowed = { allow: true };
  return {
    policy:
      path === 'none' && url === 'none'
        ? undefined
        : { decide: (question) => inForce.policy?.decide(question) ?? allowed },
    identities: { identify: (evidence) => inForce.identities.identify(evidence) },
    reload() {
      const again = readPolicy(path, remote !== undefined);
      if ('problems' in again) return again.problems;
      inForce = put(again);
      return [];
    },
  };
}

const nothing: PolicyFile = { issuers: [], identities: [], rules: undefined };

function readPolicy(path: string, hasRemote: boolean): PolicyFile | { readonly problems: readonly string[] } {
  if (path === 'none') return nothing;
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    return { problems: [`cannot be read (${(error as NodeJS.ErrnoException).code})`] };
  }
  const read = parsePolicyFile(text, (caveat) => parseCaveat(caveat) !== undefined);
  if (!read.ok) return read;
  return hasRemote && read.file.rules !== undefined
    ? { problems: ['rules beside KMS_POLICY_URL: only one of them decides'] }
    : read.file;
}

import { createHash } from 'node:crypto';
import type { JSONWebKeySet } from 'jose';
import { type AgreementReader, createApprovals, type UseLedger } from '../../auth/approvals.ts';
import type { Authenticator } from '../../auth/auth.ts';
import { createApproverTokenReader } from '../../auth/identities/approver-tokens.ts';
import { createTokenVerifier, type TokenVerifier } from '../../auth/identities/jwt.ts';
import { readKeySet } from '../../auth/identities/key-set.ts';
import { createPlacedAuthenticator } from '../../auth/identities/placed-authenticator.ts';
import type { Config } from '../../config/load.ts';
import type { Prepared, Reloadable } from '../../config/reload.ts';
import type { Approvals } from '../../core/approvals.ts';
import { systemClock } from '../../core/clock.ts';
import { readRegularFile } from '../../core/private-file.ts';
import { StartError } from '../../core/start-error.ts';
import type { Logger } from '../../observe/log.ts';

/** Who calls where keys have placements, and who agrees to changes there. Their files of keys are read again by a reload. */
export interface PlacedCallers extends Reloadable {
  /** For all surfaces: others get what the capabilities say. */
  readonly authenticator: Authenticator;
  readonly approvals: Approvals;
}

export interface PlacedCallerParts {
  readonly capabilities: Authenticator;
  /** Reads the approvals that this service makes. */
  readonly discharges: AgreementReader;
  readonly ledger: UseLedger;
}

/** The content of a file of keys, or `none`. */
interface KeyFile {
  readonly keys: JSONWebKeySet | undefined;
  /** Of its text, in hex; empty where there is none. */
  readonly sha256: string;
}

interface KeyFiles {
  readonly callers: KeyFile;
  readonly approvers: KeyFile;
}

/** Throws StartError where a file of keys cannot be used. */
export function openPlacedCallers(config: Config, log: Logger, parts: PlacedCallerParts): PlacedCallers {
  const read = readKeyFiles(config);
  if ('problems' in read) throw new StartError(read.problems.join('; '));
  if (config.m33DevIdentity) {
    log.warn(
      { approvals: config.m33DevApprovals.length },
      'DEVELOPMENT IDENTITY: whoever sends X-Client-Certificate is mock-tenant on /kms/v1; never where others reach it',
    );
  }
  const { timeSkewToleranceMs } = config;
  let inForce = read;
  let approverTokens = approverTokensOf(config, read.approvers);
  const authenticator = createPlacedAuthenticator({
    ...{ capabilities: parts.capabilities, mappings: config.m33CertificateIdentity },
    ...{ tokens: tokensOf(config, read.callers, log), timeSkewToleranceMs },
    development: config.m33DevIdentity,
  });
  return {
    authenticator,
    approvals: createApprovals({
      readers: [parts.discharges, async (text) => approverTokens?.(text)],
      ...{ ledger: parts.ledger, clock: systemClock, timeSkewToleranceMs },
      development: config.m33DevApprovals,
    }),
    prepare(next): Prepared {
      const again = readKeyFiles(next);
      if ('problems' in again) return again;
      const tokens = tokensOf(next, again.callers, log);
      const approvers = approverTokensOf(next, again.approvers);
      const differ = {
        ...(again.callers.sha256 === inForce.callers.sha256
          ? undefined
          : { m33_jwks: `sha256:${again.callers.sha256}` }),
        ...(again.approvers.sha256 === inForce.approvers.sha256
          ? undefined
          : { approver_jwks: `sha256:${again.approvers.sha256}` }),
      };
      return {
        commit() {
          inForce = again;
          approverTokens = approvers;
          authenticator.useTokens(tokens);
        },
        ...(Object.keys(differ).length === 0 ? undefined : { contents: differ }),
      };
    },
  };
}

function readKeyFiles({
  m33Jwks,
  approverJwks,
}: Config): KeyFiles | { readonly problems: readonly string[] } {
  const callers = readKeyFile('KMS_M33_JWKS', m33Jwks);
  const approvers = readKeyFile('KMS_APPROVER_JWKS', approverJwks);
  if ('problem' in callers || 'problem' in approvers) {
    return { problems: [callers, approvers].flatMap((read) => ('problem' in read ? [read.problem] : [])) };
  }
  return { callers, approvers };
}

function readKeyFile(variable: string, path: string): KeyFile | { readonly problem: string } {
  if (path === 'none') return { keys: undefined, sha256: '' };
  let text: string;
  try {
    text = readRegularFile(path).toString();
  } catch (error) {
    return { problem: `${variable}: ${path} cannot be read (${(error as NodeJS.ErrnoException).code})` };
  }
  const read = readKeySet(text);
  if (!read.ok) return { problem: `${variable}: ${path} ${read.problem}` };
  return { keys: read.keys, sha256: createHash('sha256').update(text).digest('hex') };
}

function tokensOf(config: Config, { keys }: KeyFile, log: Logger): TokenVerifier | undefined {
  if (keys === undefined) return undefined;
  const { m33JwtIssuer: issuer, m33JwtAudience: audience, m33JwtAlgs: algorithms } = config;
  const text = JSON.stringify(keys);
  return createTokenVerifier({
    issuers: [{ ...{ issuer, audience, algorithms }, keys: { file: config.m33Jwks } }],
    ...{ clock: systemClock, timeSkewToleranceMs: config.timeSkewToleranceMs },
    // As it was when the whole of the settings was read.
    readFile: () => text,
    onFailure: (_, cause) => log.warn({ cause }, 'the keys of KMS_M33_JWKS cannot be used'),
  });
}

function approverTokensOf(
  { m33JwtAlgs, audience, timeSkewToleranceMs }: Config,
  { keys }: KeyFile,
): AgreementReader | undefined {
  if (keys === undefined) return undefined;
  return createApproverTokenReader({
    ...{ keys, algorithms: m33JwtAlgs, timeSkewToleranceMs, clock: systemClock },
    audience: audience === '' ? undefined : audience,
  });
}

import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { Command } from 'commander';
import { importJWK, type JWK, SignJWT } from 'jose';
import { nearest } from '../../config/nearest.ts';
import { approvableOperations } from '../../core/approvals.ts';
import { ownCommand } from '../../core/own-package.ts';
import { errorCode } from '../../core/private-file.ts';
import { approvedRequestSha256 } from '../../http/json-requests.ts';
import { askService } from '../audit/ask-service.ts';
import { fail } from '../fail.ts';
import { type ServiceAddress, withServiceAddress } from '../service-client.ts';

const operations = Object.keys(approvableOperations);
const longestS = 3_600;
const usualS = 900;

interface ApproveOptions extends ServiceAddress {
  operation?: string;
  keyId?: string;
  request?: string;
  requestSha256?: string;
  ttl?: string;
  tokenFile?: string;
  signingKey?: string;
  approver?: string;
  tenant?: string;
}

/** `approve`: prints the agreement of a second principal to one change on /kms/v1, and nothing else. */
export function approveCommand(): Command {
  const command = new Command('approve')
    .description(
      'agree, as a second principal, to one change on /kms/v1; prints the value of X-Approval-Token',
    )
    .option('--operation <name>', `the change: ${operations.join(', ')}`)
    .option('--key-id <uuid>', 'the key that is changed')
    .option('--request <json>', 'where there is no key yet: the body of the request, as it will be sent')
    .option('--request-sha256 <hex>', 'or SHA-256 of its RFC 8785 JSON without approval_token')
    .option('--ttl <duration>', 'how long it holds: 90s, 15m, 1h at the most', '15m')
    .option(
      '--token-file <file>',
      "a file with the second principal's capability: kms:read and the scope of the change",
    )
    .option(
      '--signing-key <file>',
      'in its place: a private JWK whose public key is in KMS_APPROVER_JWKS; asks no service',
    )
    .option('--approver <name>', 'with --signing-key: who agrees')
    .option('--tenant <name>', 'with --signing-key: whose key it is');
  return withServiceAddress(command)
    .addHelpText(
      'after',
      `
An approval is for one change, once, and never for the one who made it.

Examples:
  ${ownCommand} approve --operation rotate --key-id 6f9c… --token-file second.token
  ${ownCommand} approve --operation generate --request "$(cat request.json)" --token-file second.token
  ${ownCommand} approve --operation revoke --key-id 6f9c… --signing-key alice.jwk --approver alice --tenant acme`,
    )
    .action(async (options: ApproveOptions) => {
      const change = changeOf(options);
      const approval =
        options.signingKey === undefined
          ? await askedFor(options, change)
          : await signed(options, options.signingKey, change);
      process.stdout.write(`${approval}\n`);
    });
}

interface Change {
  readonly operation: string;
  readonly keyId: string | undefined;
  readonly requestSha256: string | undefined;
  readonly ttlS: number;
}

function changeOf(options: ApproveOptions): Change {
  const { operation, keyId, request } = options;
  if (operation === undefined) fail('--operation is required', `one of ${operations.join(', ')}`);
  if (!operations.includes(operation)) {
    const near = nearest(operation, operations);
    fail(
      `--operation is one of ${operations.join(', ')}${near === undefined ? '' : `; did you mean ${near}?`}`,
    );
  }
  const named = [request, options.requestSha256].filter((one) => one !== undefined).length;
  if (named > 1 || (named === 0 && keyId === undefined)) {
    fail('give --key-id or, where there is no key yet, one of --request and --request-sha256');
  }
  const requestSha256 =
    request === undefined ? options.requestSha256 : approvedRequestSha256(bodyOf(request));
  if (requestSha256 !== undefined && !/^[0-9a-f]{64}$/.test(requestSha256)) {
    fail('--request-sha256 takes 64 hexadecimal digits');
  }
  return { operation, keyId: keyId?.toLowerCase(), requestSha256, ttlS: secondsOf(options.ttl) };
}

function bodyOf(text: string): Readonly<Record<string, unknown>> {
  try {
    const body: unknown = JSON.parse(text);
    if (typeof body === 'object' && body !== null && !Array.isArray(body)) return { ...body };
  } catch {
    // Said below.
  }
  return fail('--request is not a JSON object');
}

const unitS: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3_600 };

function secondsOf(text: string | undefined): number {
  if (text === undefined) return usualS;
  const [, count = '', unit = ''] = /^(\d{1,4})([smh])$/.exec(text) ?? [];
  const seconds = Number(count) * (unitS[unit] ?? 0);
  return seconds > 0 && seconds <= longestS
    ? seconds
    : fail('--ttl takes 90s, 15m and the like, 1h at the most');
}

async function askedFor(
  options: ApproveOptions,
  { operation, keyId, requestSha256, ttlS }: Change,
): Promise<string> {
  const tokenFile = options.tokenFile ?? fail('--token-file or --signing-key is required');
  const body = { operation, key_id: keyId, request_sha256: requestSha256, ttl_s: ttlS };
  const { text } = await askService(options, '/v1/kms/token/discharge', tokenFile, body);
  return (JSON.parse(text) as { discharge: string }).discharge;
}

async function signed(options: ApproveOptions, file: string, change: Change): Promise<string> {
  const { approver, tenant } = options;
  if (approver === undefined || tenant === undefined) fail('--signing-key needs --approver and --tenant');
  const { alg, kid, ...jwk } = readKey(file);
  if (alg === undefined) fail(`${file} does not say its alg`);
  const nowS = Math.floor(Date.now() / 1_000);
  const { operation, keyId, requestSha256, ttlS } = change;
  const claims = { tenant_id: tenant, operation, key_id: keyId, request_sha256: requestSha256 };
  try {
    const key = await importJWK(jwk, alg);
    return await new SignJWT(claims)
      .setProtectedHeader({ alg, ...(kid === undefined ? undefined : { kid }) })
      .setSubject(approver)
      .setJti(randomUUID())
      .setIssuedAt(nowS)
      .setExpirationTime(nowS + ttlS)
      .sign(key);
  } catch {
    return fail(`${file} is no private key for ${alg}`);
  }
}

function readKey(file: string): JWK {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    return fail(`cannot read ${file} (${errorCode(error)})`);
  }
  try {
    const key: unknown = JSON.parse(text);
    if (typeof key === 'object' && key !== null) return key as JWK;
  } catch {
    // Said below.
  }
  return fail(`${file} is no JSON Web Key`);
}

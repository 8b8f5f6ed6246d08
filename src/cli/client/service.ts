import { readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import type { Command } from 'commander';
import { KmsError, UnreachableError } from '../../client/errors.ts';
import type { KmsClient } from '../../client/kms-client.ts';
import { failWith } from '../fail.ts';
import { tlsOf, urlOf } from '../service-client.ts';

/** Does not verify, or was refused; used wrongly; not reachable. */
export const exitStatus = { refused: 1, wrongUse: 2, unreachable: 3 } as const;

const usualUrl = 'http://127.0.0.1:7441';

export interface AskedService {
  readonly url?: URL;
  readonly tokenFile?: string;
  readonly profile?: string;
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
  readonly serverName?: string;
}

/** The options by which a command finds the service and its capability, and wrong use ends it with status 2. */
export function withService(command: Command): Command {
  return endsWithTwo(command)
    .option('--url <url>', 'the service: http://host:port, https://host:port or unix:/path (KMS_URL)', urlOf)
    .option('--token-file <file>', 'a file with the capability (KMS_TOKEN_FILE)')
    .option('--profile <name>', 'address and token file from the profiles file (INTAGLIO_PROFILE)')
    .option('--ca <file>', 'with https: the authorities of its certificate, PEM')
    .option('--cert <file>', 'with https: a client certificate with its chain, PEM')
    .option('--key <file>', 'with https: the private key of the client certificate, PEM')
    .option('--server-name <name>', "with https: the name in its certificate, where that is not the URL's");
}

/** Commander itself ends with 1. */
export function endsWithTwo(command: Command): Command {
  return command.exitOverride(({ exitCode }) => process.exit(exitCode === 0 ? 0 : exitStatus.wrongUse));
}

export function wrongUse(...lines: readonly string[]): never {
  return failWith(exitStatus.wrongUse, ...lines);
}

/** Runs `use` with the service that options, environment and profile name; says what went wrong by the exit status. */
export async function withClient(
  options: AskedService,
  use: (client: KmsClient) => Promise<void>,
): Promise<void> {
  const { url, tokenFile, tls } = placeOf(options);
  const token = readToken(tokenFile);
  // Its HTTP library takes as long to load as all else together; help and wrong use need none.
  const { KmsClient } = await import('../../client/kms-client.ts');
  const client = new KmsClient({ url, token, ...(tls === undefined ? {} : { tls }) });
  try {
    await use(client);
  } catch (error) {
    refuse(error, url);
  } finally {
    await client.close();
  }
}

function refuse(error: unknown, url: string): never {
  if (error instanceof KmsError) failWith(exitStatus.refused, error.message);
  if (error instanceof UnreachableError) failWith(exitStatus.unreachable, `${url}: ${error.message}`);
  if (error instanceof RangeError) wrongUse(error.message);
  throw error;
}

interface Profile {
  readonly url?: string;
  readonly token_file?: string;
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
  readonly server_name?: string;
}

const members = new Set(['url', 'token_file', 'ca', 'cert', 'key', 'server_name']);

function profilesFile(): string {
  const { XDG_CONFIG_HOME: config } = process.env;
  return join(config ?? join(homedir(), '.config'), 'intaglio', 'profiles.json');
}

/** Of the name that is given, or `default` where there is one. */
function profileOf(given: string | undefined): Profile {
  const name = given ?? process.env.INTAGLIO_PROFILE;
  const path = profilesFile();
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if (name === undefined) return {};
    return wrongUse(`the profile ${name}: cannot read ${path} (${(error as NodeJS.ErrnoException).code})`);
  }
  const profiles = parsed(text, path);
  const profile = Object.hasOwn(profiles, name ?? 'default') ? profiles[name ?? 'default'] : undefined;
  if (profile === undefined) return name === undefined ? {} : wrongUse(`${path} has no profile ${name}`);
  const unknown = Object.keys(profile).find((member) => !members.has(member));
  if (unknown !== undefined)
    wrongUse(`${path}: unknown member ${unknown}; there are ${[...members].join(', ')}`);
  return profile;
}

function parsed(text: string, path: string): Readonly<Record<string, Profile>> {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === 'object' && value !== null) return value as Record<string, Profile>;
  } catch {
    // Told below.
  }
  return wrongUse(`${path} is not a JSON object of profiles`);
}

/** Options before environment before profile. */
export function placeOf(options: AskedService) {
  const profile = profileOf(options.profile);
  const { KMS_URL, KMS_TOKEN_FILE } = process.env;
  const url = options.url?.href ?? KMS_URL ?? profile.url ?? usualUrl;
  try {
    urlOf(url);
  } catch {
    wrongUse(`${url}: give http://host:port, https://host:port or unix:/path`);
  }
  const files = {
    ca: options.ca ?? profile.ca,
    cert: options.cert ?? profile.cert,
    key: options.key ?? profile.key,
    serverName: options.serverName ?? profile.server_name,
  };
  const given = Object.fromEntries(Object.entries(files).filter(([, value]) => value !== undefined));
  const tls = Object.keys(given).length === 0 ? undefined : tlsOf(given);
  if (tls !== undefined && !url.startsWith('https:'))
    wrongUse('--ca, --cert, --key and --server-name go with https');
  if ((files.cert === undefined) !== (files.key === undefined)) wrongUse('--cert and --key go together');
  const tokenFile = options.tokenFile ?? KMS_TOKEN_FILE ?? profile.token_file;
  return { url, tokenFile, tls };
}

function readToken(path: string | undefined): string {
  if (path === undefined) return wrongUse('--token-file is required (or KMS_TOKEN_FILE, or a profile)');
  try {
    return readFileSync(path, 'utf8').trim();
  } catch (error) {
    return wrongUse(`cannot read ${path}: ${(error as NodeJS.ErrnoException).code}`);
  }
}

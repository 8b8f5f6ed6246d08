import { randomBytes } from 'node:crypto';
import { Command } from 'commander';
import type { AttestationExpectations, KeyEvidence, VerifiedAttestation } from '../../client/attestation.ts';
import type { KmsClient } from '../../client/kms-client.ts';
import { failWith } from '../fail.ts';
import { fileBytes, line, put } from './files.ts';
import { type AskedService, endsWithTwo, exitStatus, withClient, withService, wrongUse } from './service.ts';

export interface Trusting {
  readonly keys?: string;
  readonly log?: string;
  readonly tpm?: string;
}

interface Asked extends AskedService, Trusting {
  readonly kid?: string;
  readonly nonce?: string;
  readonly verify?: boolean;
  readonly out?: string;
}

/** RFC 9711: 8 to 64 bytes; as many are not guessed. */
const ownNonceBytes = 32;

/** Asks a service for evidence, or verifies what it gave. */
export function attestCommand(): Command {
  return trusting(
    withService(new Command('attest').description('evidence of where a key is (docs/attestation.md)')),
  )
    .enablePositionalOptions()
    .option('--kid <kid>', 'the key, or one version of it')
    .option('--nonce <text>', '8 to 64 bytes in base64url (default: 32 random ones)')
    .option('--verify', 'verify it, with --keys or else with the keys that the service itself names')
    .option('--out <file>', 'where the evidence goes (default: standard output)')
    .addHelpText(
      'after',
      `
Exit status: 0 given, and with --verify valid; 1 refused or not valid; 2 wrong use; 3 the service does not answer.

Examples:
  intaglio attest --kid KID --out key.evidence
  intaglio attest --kid KID --verify --keys audit.vkeys
  intaglio attest verify key.evidence --keys audit.vkeys --kid KID --nonce NONCE`,
    )
    .action(
      async ({ kid, nonce = randomBytes(ownNonceBytes).toString('base64url'), out, ...options }: Asked) => {
        if (kid === undefined) return wrongUse('--kid is required');
        const bytes = Buffer.from(nonce, 'base64url');
        if (bytes.toString('base64url') !== nonce || bytes.length < 8 || bytes.length > 64)
          return wrongUse('--nonce: 8 to 64 bytes in base64url, without padding');
        let verdict: VerifiedAttestation | undefined;
        await withClient(options, async (client) => {
          const given = await client.attest(kid, { nonce: bytes });
          put(out, line(given));
          if (options.verify !== true) return;
          const trust =
            options.keys === undefined ? { keys: await namedKeys(client) } : await trustedBy(options);
          verdict = await verdictOf(given, { ...trust, ...ofTpm(options), kid, nonce });
        });
        if (verdict !== undefined) await tell(verdict);
      },
    )
    .addCommand(verifyEvidenceCommand());
}

/** Whoever answers in the service's place names keys of its own; so this says that they were not given. */
async function namedKeys(client: KmsClient): Promise<readonly string[]> {
  process.stderr.write(
    'intaglio: warning: the keys are those that the service names; give --keys to trust others\n',
  );
  const named = await client.call<{ vkeys: string[]; replaced?: { vkeys: string[] } }>(
    '/v1/kms/audit/vkeys',
    undefined,
  );
  return [...named.vkeys, ...(named.replaced?.vkeys ?? [])];
}

interface Verified extends Trusting {
  readonly kid: string;
  readonly nonce?: string;
  readonly at?: string;
  readonly json?: boolean;
}

function verifyEvidenceCommand(): Command {
  return trusting(
    endsWithTwo(
      new Command('verify').description('verify evidence with no service; exit status 1 if it is not valid'),
    ),
  )
    .argument('<file>', 'what attest wrote, or one of `attestation` of a sign answer; - for standard input')
    .requiredOption('--kid <kid>', 'the key that it has to be of')
    .option('--nonce <text>', 'the nonce that was sent; without it the evidence must have none')
    .option('--at <time>', 'the moment at which it has to be valid, RFC 3339 (default: now)')
    .option('--json', 'the claims as JSON')
    .action(async (file: string, own: Verified) => {
      const { kid, nonce, at, json, ...options } = own;
      if (options.keys === undefined) return wrongUse('--keys is required');
      const nowMs = at === undefined ? Date.now() : Date.parse(at);
      if (Number.isNaN(nowMs)) return wrongUse('--at: a time of RFC 3339');
      const expected = {
        ...{ ...(await trustedBy(options)), ...ofTpm(options), kid, nowMs },
        ...(nonce === undefined ? {} : { nonce }),
      };
      await tell(await verdictOf(await evidenceIn(file), expected), json);
    });
}

export function trusting(command: Command): Command {
  return command
    .option(
      '--keys <file>',
      'verifier keys of the audit log that you trust, as GET /v1/kms/audit/vkeys gives them',
    )
    .option(
      '--log <directory>',
      'the log, or its export: its keys before and after those are trusted as it proves',
    )
    .option('--tpm <name>', 'it has to be signed by this TPM: 68 hex digits, as this command shows them');
}

/** The TPM's own key, which the service cannot stand in for. */
function ofTpm({ tpm }: Trusting): { readonly tpm?: string } {
  if (tpm === undefined) return {};
  return /^000b[0-9a-f]{64}$/.test(tpm) ? { tpm } : wrongUse('--tpm: 68 hex digits that begin with 000b');
}

/** The keys of the file, and with a log those by which it replaced them or which they replaced. */
export async function trustedBy({ keys: file, log }: Trusting) {
  const [{ readVkeys }, { openLog }, { attestationKeys }] = await Promise.all([
    import('../vkeys.ts'),
    import('../audit/open-log.ts'),
    import('../../audit/reading/attestation-keys.ts'),
  ]);
  const known = readVkeys(file as string);
  if (log === undefined) return { keys: known.map(({ vkey }) => vkey) };
  const followed = attestationKeys(openLog(log), known);
  if (!followed.ok) failWith(exitStatus.refused, `${log}: ${followed.failure.hint}`);
  return followed.value;
}

/** The signatures' library takes as long to load as all else together, and only these two commands need it. */
async function verdictOf(
  given: KeyEvidence,
  expected: AttestationExpectations,
): Promise<VerifiedAttestation> {
  const { verifyAttestation } = await import('../../client/attestation.ts');
  return verifyAttestation(given, expected);
}

async function evidenceIn(file: string): Promise<KeyEvidence> {
  try {
    return JSON.parse(Buffer.from(await fileBytes(file)).toString('utf8')) as KeyEvidence;
  } catch {
    return wrongUse(`${file} is not JSON`);
  }
}

async function tell(verdict: VerifiedAttestation, json = false): Promise<void> {
  if (!verdict.ok) failWith(exitStatus.refused, `not valid: ${verdict.reason}`);
  const { claims, signedBy } = verdict;
  if (json) {
    put(undefined, line(claims));
    return;
  }
  const { backend, class: name, origin } = claims.intaglio_key;
  const token = claims.submods?.token.intaglio_token;
  const { tpmKeyName } = await import('../../client/tpm-evidence.ts');
  const byTpm = claims.submods?.token.intaglio_tpm?.[0];
  const pcrs = Object.entries(byTpm?.pcrs.values ?? {}).map(
    ([pcr, value]) => `PCR ${pcr.padEnd(2)}      ${value}`,
  );
  const lines = [
    `key         ${claims.sub}`,
    `residence   ${backend}, class ${name}, ${origin}`,
    ...(token === undefined
      ? []
      : [`token       ${token.manufacturer} ${token.model}, serial ${token.serial}, by its own word`]),
    ...(byTpm === undefined ? [] : [`TPM         ${tpmKeyName(byTpm.signer)}, signed by itself`, ...pcrs]),
    `made        ${new Date(claims.iat * 1_000).toISOString()}`,
    `signed by   ${signedBy.join(', ')}`,
    'valid: it is what this service said of the key',
  ];
  // Standard output may hold the evidence itself.
  process.stderr.write(`${lines.join('\n')}\n`);
}

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { call, startService, temporaryDirectory } from '../support/service.ts';
import { hasPython, pythonTool } from './python-tool.ts';

/**
 * Schemathesis (PyPI) asks a service what its own description says that can be asked, and what it says that cannot, and holds the
 * answers against it: `npm run drill:openapi`, some minutes; `-- --short` in less than one; `-- --seed 7` asks other things.
 * Exit status 1 where something does not hold, or the service logged an error. Without a Python that has venv it says so; so does the
 * short run, which is CI's, where PyPI cannot be reached.
 */

const args = process.argv.slice(2);
const short = args.includes('--short');
const seed = args.includes('--seed') ? (args[args.indexOf('--seed') + 1] ?? '') : '1';

if (!hasPython()) {
  process.stdout.write('the description was NOT held against the service: no Python with venv here\n');
  process.exit(0);
}
const schemathesis = installed();
// Making keys of RSA takes seconds each; that they are refused is an answer like another.
const algorithms = ['ed25519', 'ml-dsa-65', 'ed25519+ml-dsa-65', 'ecdsa-p256', 'hmac-sha256'];
const service = await startService({
  env: {
    ...{ KMS_ALLOWED_ALGS: [...algorithms, 'aes-256-gcm'].join(','), KMS_M33: 'true' },
    ...{ KMS_M33_DEV_IDENTITY: 'true', KMS_M33_DEV_APPROVALS: 'drill' },
  },
});
const scopes = 'kms:create,kms:read,kms:sign,kms:verify,kms:rotate,kms:destroy,kms:admin,kms:audit';
const token = await service.mint('default', scopes);
const kids: Record<string, string> = {};
for (const alg of algorithms) {
  const { body } = await call(service, token, 'POST', '/v1/kms/keys', { purpose: 'web', alg });
  kids[alg] = body.kid;
}
const directory = temporaryDirectory();
for (const config of ['schemathesis.toml', 'schemathesis-kms-v1.toml'])
  cpSync(join(import.meta.dirname, config), join(directory, config));
const { 'hmac-sha256': mac = '', ...signing } = kids;
const writeDictionary = (name: string, values: readonly string[]) =>
  writeFileSync(join(directory, name), values.map((value) => `"${value}"\n`).join(''));
writeDictionary('signing-kids', Object.values(signing));
writeDictionary('mac-kids', [mac]);
writeDictionary('key-ids', await placedKeys());

const revoker = await service.mint('revoker', scopes);
const statuses = [
  await held('schemathesis.toml', '/openapi.json'),
  await held('schemathesis-kms-v1.toml', '/kms/v1/openapi.json'),
];

/** Holds one description against the service; the exit status. */
async function held(config: string, path: string): Promise<number | null> {
  const run = spawn(
    schemathesis,
    [
      ...[
        '--config-file',
        join(directory, config),
        'run',
        `${service.url}${path}`,
        '--seed',
        seed,
        '--no-color',
      ],
      ...['--generation-database', 'none', '--continue-on-failure', '--max-examples', short ? '5' : '100'],
      ...['--phases', short ? 'examples,coverage,fuzzing' : 'examples,coverage,fuzzing,stateful'],
    ],
    {
      // Its notes of a run go to the directory that it is in.
      ...{ cwd: directory, stdio: ['ignore', 'inherit', 'inherit'] },
      env: { ...process.env, TOKEN: token, REVOKER: revoker },
    },
  );
  const [status] = (await once(run, 'exit')) as [number | null];
  return status;
}

/** Two keys of the developer’s, one that signs and one that encrypts. */
async function placedKeys(): Promise<string[]> {
  const place = { tenant_id: 'mock-tenant', environment: 'dev', plane: 'laptop' };
  const headers = { 'x-client-certificate': 'drill', 'x-approval-token': 'drill' };
  const wanted = [
    { key_type: 'Ed25519', key_usage: ['sign', 'verify'] },
    { key_type: 'AES-256', key_usage: ['encrypt', 'decrypt'] },
  ];
  const made = wanted.map((key) =>
    call(service, undefined, 'POST', '/kms/v1/keys', { ...place, ...key }, headers),
  );
  return (await Promise.all(made)).map(({ body }) => body.key_id);
}

// Had it lost its capability, it would have been told 401 and found nothing wrong with that.
const listed = await call(service, token, 'GET', '/v1/kms/keys');
await service.stop();
const errors = service.log.filter((line) => /"level":"(error|fatal)"/.test(line));
for (const line of errors) process.stdout.write(`the service logged: ${line}\n`);
if (listed.status !== 200) process.stdout.write('the capability of the run was revoked: it says nothing\n');
process.exit(
  statuses.every((status) => status === 0) && listed.status === 200 && errors.length === 0 ? 0 : 1,
);

function installed(): string {
  try {
    return pythonTool('schemathesis', 'schemathesis');
  } catch (error) {
    if (!short) throw error;
    process.stdout.write(`the description was NOT held against the service: ${(error as Error).message}\n`);
    return process.exit(0);
  }
}

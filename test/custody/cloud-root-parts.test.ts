import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import test from 'node:test';
import { StartError } from '../../src/core/start-error.ts';
import { awsTrouble } from '../../src/custody/root-key/aws/errors.ts';
import { azureTrouble } from '../../src/custody/root-key/azure/errors.ts';
import { endpointProblem } from '../../src/custody/root-key/cloud/endpoint.ts';
import { cloudLimits } from '../../src/custody/root-key/cloud/limits.ts';
import { loadSdk } from '../../src/custody/root-key/cloud/sdk.ts';
import { CloudTrouble } from '../../src/custody/root-key/cloud/trouble.ts';
import { createCloudWrapping } from '../../src/custody/root-key/cloud/wrapping.ts';
import { crc32c } from '../../src/custody/root-key/gcp/crc32c.ts';
import { gcpTrouble } from '../../src/custody/root-key/gcp/errors.ts';
import { parseRootSources } from '../../src/custody/root-key/sources-file.ts';

const common = { id: 'cloud', createdAtMs: 1, generation: 1, root: '0123456789abcdef' };
const aws = {
  ...common,
  kind: 'aws',
  algorithm: 'SYMMETRIC_DEFAULT',
  wrapped: 'AAAA',
  key: 'arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab',
} as const;
const gcp = {
  ...{ ...common, kind: 'gcp', algorithm: 'GOOGLE_SYMMETRIC_ENCRYPTION', wrapped: 'AAAA', keyVersion: '3' },
  key: 'projects/example.com:p/locations/europe-west3/keyRings/r/cryptoKeys/k',
} as const;
const azure = {
  ...common,
  kind: 'azure',
  algorithm: 'RSA-OAEP-256',
  wrapped: 'AAAA',
  key: `https://name.vault.azure.net/keys/root/${'0'.repeat(32)}`,
} as const;

const listOf = (source: object) => parseRootSources(Buffer.from(JSON.stringify({ v: 1, sources: [source] })));

test('CRC32C has the values of RFC 3720, B.4', () => {
  const ascending = Uint8Array.from({ length: 32 }, (_, at) => at);
  assert.equal(crc32c(new Uint8Array(32)), 0x8a9136aa);
  assert.equal(crc32c(new Uint8Array(32).fill(0xff)), 0x62a8ab43);
  assert.equal(crc32c(ascending), 0x46dd794e);
  assert.equal(crc32c(ascending.toReversed()), 0x113fdb5c);
});

test('the list takes keys of a cloud KMS by their whole names only, and no credential', () => {
  for (const good of [
    aws,
    { ...aws, key: aws.key.replace('arn:aws:', 'arn:aws-us-gov:'), endpoint: 'https://vpce-1.kms.example' },
    ...[gcp, azure, { ...azure, algorithm: 'A256KW' }],
  ])
    assert.deepEqual(listOf(good), { v: 1, sources: [good] });
  for (const bad of [
    ...[
      { ...aws, key: aws.key.replace('key/', 'alias/') },
      { ...aws, key: 'alias/root' },
    ],
    ...[
      { ...aws, accessKeyId: 'AKIA' },
      { ...aws, algorithm: 'RSAES_OAEP_SHA_1' },
    ],
    ...[
      { ...gcp, key: `${gcp.key}/cryptoKeyVersions/1` },
      { ...gcp, keyVersion: '0' },
    ],
    ...[
      { ...azure, key: azure.key.slice(0, -33) },
      { ...azure, algorithm: 'RSA1_5' },
    ],
    { ...azure, key: azure.key.replace('name.', 'user:secret@name.') },
  ])
    assert.equal(typeof listOf(bad), 'string', JSON.stringify(bad));
});

test('a KMS is spoken to over TLS, and over plain HTTP on this machine alone', async () => {
  for (const address of ['https://kms.example', 'http://127.0.0.1:9', 'http://localhost:9', 'http://[::1]:9'])
    assert.equal(endpointProblem('aws', address), undefined, address);
  assert.equal(endpointProblem('gcp', 'https://cloudkms.europe-west3.rep.googleapis.com'), undefined);
  for (const address of [
    ...['http://kms.example', 'ftp://127.0.0.1', 'kms.example', 'https://a:b@kms.example'],
    ...['http://127.0.0.1.example', 'https://kms.example/?a=b'],
    // DNS may be asked for it.
    ...['http://kms.localhost', 'http://localhost.example', 'http://127.0.0.1@kms.example'],
  ])
    assert.equal(typeof endpointProblem('aws', address), 'string', address);
  for (const address of ['https://kms.example', 'https://googleapis.com.example', 'https://xgoogleapis.com'])
    assert.match(endpointProblem('gcp', address) ?? '', /googleapis/);
  // A list that somebody has written to is held to it as well, before anything is loaded.
  const none = async () => assert.fail('it was loaded');
  const wrapping = createCloudWrapping(() => '', { aws: none, gcp: none, azure: none });
  const moved = { ...azure, key: azure.key.replace('https', 'http') };
  await assert.rejects(wrapping.unwrap(moved), (cause: Error) => {
    assert.ok(cause instanceof StartError);
    return /the address must begin with https/.test(cause.message);
  });
});

test('a package that is not installed is named', async () => {
  const missing = '@aws-sdk/client-kms-that-is-not-there';
  const load = () => loadSdk('@aws-sdk/client-kms', () => import(missing));
  const provider = async () => ({ wrap: load as never, unwrap: load as never });
  const wrapping = createCloudWrapping(() => '', { aws: provider, gcp: provider, azure: provider });
  await assert.rejects(
    wrapping.unwrap(aws),
    /cloud \(AWS KMS, arn.*\): needs the npm package @aws-sdk\/client-kms, which is not installed/,
  );
});

test('what providers say that a fake does not is understood, too', () => {
  const named = (name: string) => Object.assign(new Error('x'), { name, $metadata: { httpStatusCode: 400 } });
  const aws: readonly (readonly [unknown, string])[] = [
    ...[
      [named('IncorrectKeyException'), 'not-its'] as const,
      [named('InvalidKeyUsageException'), 'unfit'] as const,
    ],
    ...[
      [named('KeyUnavailableException'), 'away'] as const,
      [named('ExpiredTokenException'), 'no-credentials'] as const,
    ],
    [{ name: 'SyntaxError', $metadata: { httpStatusCode: 502 } }, 'away'],
    ...[[{ code: 'ENOTFOUND' }, 'away'] as const, [{ code: 'CERT_HAS_EXPIRED' }, 'untrusted'] as const],
    [
      { ...named('InvalidSignatureException'), message: 'Signature expired: 1 is now earlier than 2' },
      'clock',
    ],
    [{ ...named('RequestTimeTooSkewed') }, 'clock'],
    ...[[named('CredentialsProviderError'), 'no-credentials'] as const, [named('Other'), 'failed'] as const],
  ];
  for (const [cause, kind] of aws) assert.equal(awsTrouble(cause).kind, kind);
  const gcp: readonly (readonly [number, string, boolean, string])[] = [
    [
      4,
      'Exceeded maximum number of retries retrying error Error: 8 RESOURCE_EXHAUSTED: x',
      true,
      'throttled',
    ],
    [4, 'Exceeded maximum number of retries retrying error Error: 14 UNAVAILABLE: x', true, 'away'],
    ...[[4, 'Deadline exceeded', true, 'slow'] as const, [3, 'x', false, 'unfit'] as const],
    ...[[12, 'x', true, 'lied'] as const, [15, 'x', true, 'lied'] as const],
    [8, 'Received message larger than max (100000000 vs 65536)', true, 'lied'],
    [
      ...([
        14,
        'No connection established. Last error: Error: certificate is not yet valid. x',
        true,
      ] as const),
      'untrusted',
    ],
    [2, 'invalid_grant: Invalid JWT: Token must be ... in a reasonable timeframe.', true, 'clock'],
    [14, 'Getting metadata from plugin failed with error: x', true, 'no-credentials'],
    [9, 'is not enabled, current state is: DESTROYED.', true, 'deletion'],
    [99, 'x', true, 'failed'],
  ];
  for (const [code, message, opening, kind] of gcp)
    assert.equal(gcpTrouble(Object.assign(new Error(message), { code }), opening).kind, kind, message);
  assert.equal(gcpTrouble(new Error('Could not load the default credentials.'), true).kind, 'no-credentials');
  const azure: readonly (readonly [object, string])[] = [
    ...[[{ code: 'ENOTFOUND' }, 'away'] as const, [{ name: 'AbortError' }, 'slow'] as const],
    ...[
      [{ name: 'CredentialUnavailableError' }, 'no-credentials'] as const,
      [{ statusCode: 409, details: { error: { code: 'Conflict' } } }, 'deletion'] as const,
    ],
    [{ message: "The challenge resource 'https://a.example' does not match the requested domain." }, 'lied'],
    [{ statusCode: 403, details: { error: { innerError: { code: 'KeyExpired' } } } }, 'deletion'],
    ...[[{ statusCode: 302 }, 'lied'] as const, [{ statusCode: 500 }, 'away'] as const],
  ];
  for (const [cause, kind] of azure)
    assert.equal(azureTrouble(cause, true).kind, kind, JSON.stringify(cause));
});

test('a code is shown only where it is one', () => {
  assert.equal(new CloudTrouble('failed', 'AKIA secret').code, undefined);
  assert.equal(new CloudTrouble('failed', 'KeyId').code, 'KeyId');
});

test('all tries and pauses end before the process apart is ended', () => {
  const { connectMs, attemptMs, wholeMs } = cloudLimits;
  assert.ok(connectMs < attemptMs && attemptMs < wholeMs && wholeMs < 300_000);
});

test('no SDK of a cloud is loaded by what serves, by commands, or by our own part of it', () => {
  // What a process has loaded is seen by its loader alone.
  const hooks = `
    import { registerHooks } from 'node:module';
    const seen = [];
    registerHooks({ load: (url, context, next) => { seen.push(url); return next(url, context); } });
    for (const path of ['main', 'service', 'cli/root/acts', 'custody/root-key/cloud/providers', 'custody/root-key/aws/index',
      'custody/root-key/gcp/index', 'custody/root-key/azure/index'])
      await import(${JSON.stringify(join(import.meta.dirname, '../../src/'))} + path + '.ts');
    console.log(JSON.stringify(seen.filter((url) => /node_modules\\/(@aws-sdk|@smithy|@google-cloud|google-|@azure)/.test(url))));
    console.log(seen.length);
    process.exit();`;
  // Of what it loads it runs nothing, so its lines would count as not covered. Node hands the variable on where it is absent.
  const env = { ...process.env, NODE_V8_COVERAGE: '' };
  const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', hooks], {
    ...{ encoding: 'utf8', env },
  });
  const [loaded, count] = stdout.trim().split('\n');
  assert.equal(loaded, '[]', stderr);
  assert.ok(Number(count) > 100, 'the hook saw nothing');
});

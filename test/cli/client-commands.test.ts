import assert from 'node:assert/strict';
import { generateKeyPairSync, verify } from 'node:crypto';
import { chmodSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { after, before, suite } from 'node:test';
import { startInProcess } from '../support/in-process.ts';
import { type ListeningService, temporaryDirectory } from '../support/service.ts';
import { intaglio, type Outcome } from './intaglio.ts';

let service: ListeningService;
let directory: string;
let ask: (args: readonly string[], input?: string) => Promise<Outcome>;
const kids: Record<string, string> = {};
const at = (name: string): string => join(directory, name);

before(async () => {
  service = await startInProcess({ listen: true });
  directory = temporaryDirectory();
  writeFileSync(at('admin.token'), service.token);
  writeFileSync(at('reader.token'), await service.mint('default', 'kms:read'));
  writeFileSync(at('a.txt'), 'hello world');
  writeFileSync(at('b.txt'), 'another');
  writeFileSync(at('junk.json'), 'junk');
  writeFileSync(at('big.bin'), Buffer.alloc(300_000, 7));
  writeFileSync(
    at('ec.pem'),
    generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ type: 'pkcs8', format: 'pem' }),
  );
  writeFileSync(
    at('ed.pub'),
    generateKeyPairSync('ed25519').publicKey.export({ type: 'spki', format: 'pem' }),
  );
  const env = { KMS_URL: service.url, KMS_TOKEN_FILE: at('admin.token'), HOME: directory };
  ask = (args, input) => intaglio(args, { env, ...(input === undefined ? {} : { input }) });
  for (const [name, alg] of Object.entries({
    ed: 'ed25519',
    hybrid: 'ed25519+ml-dsa-65',
    ml: 'ml-dsa-65',
    aead: 'xaes-256-gcm',
    hkdf: 'hkdf-sha256',
    rsa: 'rsa-2048',
  })) {
    const made = await ask(['keys', 'create', '--purpose', 'cli', '--alg', alg]);
    assert.equal(made.status, 0, made.stderr);
    kids[name] = made.stdout.trim();
  }
  for (const [name, sig] of [
    ['ed', 'ed.sig'],
    ['hybrid', 'hybrid.sig'],
    ['rsa', 'rsa.sig'],
  ] as const)
    assert.equal((await ask(['sign', '--kid', kids[name]!, at('a.txt'), '--out', at(sig)])).status, 0);
  assert.equal(
    (await ask(['sign', '--kid', kids.ed!, at('a.txt'), '--raw', '--out', at('ed.raw')])).status,
    0,
  );
  assert.equal(
    (await ask(['encrypt', '--kid', kids.aead!, at('a.txt'), '--aad', 'x', '--out', at('a.enc')])).status,
    0,
  );
  assert.equal(
    (await ask(['wrap', '--kid', kids.aead!, '--size', '32', '--out', at('key.wrapped')])).status,
    0,
  );
});

after(() => service.stop());

/** Words: `@name` is a file of the directory, `%name` the kid of a key. */
type Case = readonly [command: string, status: number, says: RegExp, input?: string];

const cases: readonly Case[] = [
  // Keys.
  ['keys create --purpose cli --alg ed25519', 0, /^default\/cli\/ed25519\/[0-9a-f-]{36}#v1\n$/],
  ['keys create --purpose cli --alg ml-dsa --json', 0, /"kid":"default\/cli\/ml-dsa-65\//],
  ['keys create --purpose cli --alg ed25519 --usages sign,verify', 0, /#v1/],
  ['keys create --purpose cli --alg ed25519 --usages fly', 1, /BadRequest/],
  ['keys create --purpose cli --alg ed448', 1, /Unsupported/],
  ['keys create --purpose cli', 2, /--alg/],
  ['keys create --alg ed25519', 2, /--purpose/],
  ['keys create --purpose cli --alg ed25519 extra', 2, /too many arguments/],
  ['keys create --purpose cli --alg ed25519 --op-id nonsense', 1, /BadRequest/],
  ['keys create --purpose cli --alg ed25519 --token-file @reader.token', 1, /NoCapability/],
  ['keys list', 0, /default\/cli\/xaes-256-gcm\/.* {2}active/],
  ['keys list --alg hkdf-sha256 --json', 0, /^\{"kid":"default\/cli\/hkdf-sha256[^\n]*\}\n$/],
  ['keys list --purpose nothing', 0, /^$/],
  ['keys list --alg nothing', 1, /Unsupported/],
  ['keys show %ed', 0, /"versions": \[/],
  ['keys show %ed --json', 0, /^\{.*\}\n$/],
  ['keys show default/cli/ed25519/11111111-2222-4333-8444-555555555555', 1, /NotFound/],
  ['keys show', 2, /missing required argument/],
  ['keys destroy %ed', 2, /--yes/],
  ['keys destroy %ed --version-number zero --yes', 2, /number/],
  ['keys import --purpose brought --alg ecdsa-p256 @ec.pem', 0, /brought\/ecdsa-p256/],
  ['keys import --purpose brought --alg ed25519 --public @ed.pub', 0, /brought\/ed25519/],
  ['keys import --purpose brought --alg ed25519 @ec.pem', 1, /BadRequest/],
  ['keys import @ec.pem', 2, /--purpose and --alg, or --kid/],
  ['keys import --purpose brought --alg ecdsa-p256 @missing.pem', 2, /cannot read/],
  ['keys rotate default/cli/ed25519/11111111-2222-4333-8444-555555555555', 1, /NotFound/],
  ['keys fly', 2, /unknown command/],
  // Signatures.
  ['sign --kid %ed @a.txt', 0, /^\{"kid":.*"sigs":\[/],
  ['sign --kid %ed -', 0, /"sigs"/, 'of standard input'],
  ['sign --kid %ed @big.bin', 0, /"sigs"/],
  ['sign --kid %ml --context of-me @a.txt', 0, /"sigs"/],
  ['sign --kid %ed --context of-me @a.txt', 1, /Unsupported/],
  ['sign --kid %ed --message @a.txt', 0, /"sigs"/],
  ['sign --kid %ed --message @big.bin', 2, /at most 65536/],
  ['sign --kid %rsa --alg RS256 @a.txt', 0, /"alg":"RS256"/],
  ['sign --kid %hybrid --raw @a.txt', 2, /there are 2/],
  ['sign --kid %aead @a.txt', 1, /Unsupported|BadRequest|PolicyViolation/],
  ['sign @a.txt', 2, /--kid/],
  ['sign --kid %ed', 2, /missing required argument/],
  ['sign --kid %ed @missing.txt', 2, /cannot read/],
  ['verify --kid %ed @a.txt --signature @ed.sig', 0, /^ok\n/],
  ['verify --kid %ed @a.txt --signature @ed.raw', 0, /^ok\n/],
  ['verify --kid %ed @a.txt --signature @ed.sig --local', 0, /^ok\n/],
  ['verify --kid %hybrid @a.txt --signature @hybrid.sig --local', 0, /^ok\n/],
  ['verify --kid %rsa @a.txt --signature @rsa.sig --json', 0, /^\{"ok":true,/],
  ['verify --kid %ed @b.txt --signature @ed.sig', 1, /does not verify/],
  ['verify --kid %ed @b.txt --signature @ed.sig --local', 1, /does not verify/],
  ['verify --kid %ed @b.txt --signature @ed.sig --json', 1, /"ok":false/],
  ['verify --kid %ml @a.txt --signature @ed.sig', 1, /another key/],
  ['verify --kid %ed @a.txt --signature @b.txt', 1, /does not verify/],
  ['verify --kid %ed @a.txt --signature @missing.sig', 2, /cannot read/],
  ['verify --kid %ed @a.txt', 2, /--signature/],
  // What is sealed.
  ['encrypt --kid %aead @a.txt', 0, /"ciphertext_b64"/],
  ['encrypt --kid %aead @big.bin', 1, /TooLarge/],
  ['encrypt --kid %ed @a.txt', 1, /Unsupported|BadRequest|PolicyViolation/],
  ['decrypt @a.enc --aad x', 0, /^hello world$/],
  ['decrypt @a.enc', 1, /BadRequest/],
  ['decrypt @junk.json', 2, /is not JSON with kid/],
  ['wrap --kid %aead @a.txt', 0, /"wrapped_b64"/],
  ['wrap --kid %aead', 2, /either a file or --size/],
  ['wrap --kid %aead --size 17', 2, /16, 32 or 64/],
  ['unwrap @junk.json', 2, /is not JSON with kid, wrapped_b64/],
  [
    'derive --kid %hkdf --alg aes-256-gcm --origin o --instance i --epoch 7',
    0,
    /^default\/cli\/aes-256-gcm\//,
  ],
  ['derive --kid %hkdf --alg rsa-2048 --origin o --instance i --epoch 7', 1, /Unsupported/],
  ['derive --kid %hkdf --alg aes-256-gcm --origin o --instance i --epoch x', 2, /whole number/],
  // The service.
  ['status --once', 0, / {2}ready\nqueue: \d+ calls/],
  ['status --once --json', 0, /^\{"ready":true,"queue":/],
  ['status --once --token-file @reader.token', 1, /NoCapability/],
  ['status --interval 0', 2, /0.1 to 3600/],
  ['status --once --url http://127.0.0.1:1', 3, /ECONNREFUSED/],
  ['sign --kid %ed @a.txt --url unix:/nowhere/kms.sock', 3, /ENOENT/],
  ['sign --kid %ed @a.txt --url ftp://x', 2, /http:\/\/host:port/],
  ['sign --kid %ed @a.txt --token-file @missing.token', 2, /cannot read/],
  ['sign --kid %ed @a.txt --profile nobody', 2, /profile nobody/],
  ['status --once --server-name x', 2, /go with https/],
  ['completion tcsh', 2, /Allowed choices are bash, zsh, fish/],
];

suite('commands and their exit statuses', () => {
  for (const [command, status, says, input] of cases) {
    test(`${command}: ${status}`, async () => {
      const words = command
        .split(' ')
        .map((word) =>
          word.startsWith('@') ? at(word.slice(1)) : word.startsWith('%') ? kids[word.slice(1)]! : word,
        );
      const outcome = await ask(words, input);
      assert.equal(outcome.status, status, outcome.stderr);
      assert.match(status === 0 || words.includes('--json') ? outcome.stdout : outcome.stderr, says);
      if (status !== 0 && !words.includes('--json')) assert.equal(outcome.stdout, '');
    });
  }
});

test('rotate and destroy change what signs', async () => {
  const kid = (await ask(['keys', 'create', '--purpose', 'cli', '--alg', 'ed25519'])).stdout.trim();
  const [id = ''] = kid.split('#');
  assert.equal((await ask(['keys', 'rotate', id])).stdout, `${id}#v2\n`);
  assert.match((await ask(['sign', '--kid', id, at('a.txt')])).stdout, /#v2/);
  assert.equal((await ask(['keys', 'destroy', id, '--version-number', '1', '--yes'])).status, 0);
  assert.equal((await ask(['keys', 'destroy', id, '--yes', '--json'])).status, 0);
  assert.equal((await ask(['sign', '--kid', id, at('a.txt')])).status, 1);
});

test('an imported key of PEM signs what its public key verifies', async () => {
  const kid = (
    await ask(['keys', 'import', '--purpose', 'own', '--alg', 'ecdsa-p256', at('ec.pem')])
  ).stdout.trim();
  await ask(['sign', '--kid', kid, at('a.txt'), '--message', '--raw', '--out', at('ec.sig')]);
  assert.ok(
    verify('sha256', readFileSync(at('a.txt')), readFileSync(at('ec.pem')), readFileSync(at('ec.sig'))),
  );
});

test('what is opened is written for its owner alone', async () => {
  assert.equal((await ask(['unwrap', at('key.wrapped'), '--out', at('data.key')])).status, 0);
  const { size, mode } = statSync(at('data.key'));
  assert.deepEqual([size, mode & 0o777], [32, 0o600]);
});

test('a profile gives address and token file; environment and options go before it', async () => {
  const home = temporaryDirectory();
  mkdirSync(join(home, 'intaglio'));
  const file = join(home, 'intaglio', 'profiles.json');
  const profiles = {
    default: { url: 'http://127.0.0.1:1' },
    here: { url: service.url, token_file: at('admin.token') },
    odd: { colour: 'red' },
  };
  writeFileSync(file, JSON.stringify(profiles));
  const env = { XDG_CONFIG_HOME: home };
  const list = ['keys', 'list', '--purpose', 'nothing'];
  assert.equal((await intaglio([...list, '--profile', 'here'], { env })).status, 0);
  assert.equal((await intaglio(list, { env: { ...env, INTAGLIO_PROFILE: 'here' } })).status, 0);
  assert.equal((await intaglio([...list, '--token-file', at('admin.token')], { env })).status, 3);
  const over = { ...env, KMS_URL: service.url };
  assert.equal((await intaglio([...list, '--token-file', at('admin.token')], { env: over })).status, 0);
  assert.match((await intaglio([...list, '--profile', 'odd'], { env })).stderr, /unknown member colour/);
  chmodSync(file, 0o600);
  writeFileSync(file, 'no json');
  assert.equal((await intaglio(list, { env })).status, 2);
});

test('completions come from the commands', async () => {
  const [bash, zsh, fish] = await Promise.all(
    ['bash', 'zsh', 'fish'].map((shell) => ask(['completion', shell])),
  );
  assert.match(bash!.stdout, /'keys create'\) words='--url .*--purpose --alg/);
  assert.match(zsh!.stdout, /bashcompinit/);
  assert.match(fish!.stdout, /complete -c intaglio -n '__fish_seen_subcommand_from keys/);
});

test('every command of a client has help with an example', async () => {
  const { stdout } = await ask(['--help']);
  for (const name of [
    'keys',
    'sign',
    'verify',
    'encrypt',
    'decrypt',
    'wrap',
    'unwrap',
    'derive',
    'status',
    'completion',
  ])
    assert.match(stdout, new RegExp(`^ {2}${name} `, 'm'));
  const keys = ['create', 'list', 'show', 'rotate', 'destroy', 'import'].map((name) => ['keys', name]);
  const others = [
    'sign',
    'verify',
    'encrypt',
    'decrypt',
    'wrap',
    'unwrap',
    'derive',
    'status',
    'completion',
  ].map((name) => [name]);
  const helps = await Promise.all([...keys, ...others].map((words) => ask([...words, '--help'])));
  for (const { status, stdout } of helps) {
    assert.equal(status, 0);
    assert.match(stdout, /Examples?:\n {2}(intaglio|source)/);
  }
});

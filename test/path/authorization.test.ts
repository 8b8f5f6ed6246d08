import assert from 'node:assert/strict';
import { randomBytes, randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { before, suite } from 'node:test';
import library from 'macaroon';
import { encodeBinary } from '../../src/auth/macaroon/encoding.ts';
import { attenuateToken, inspectToken, mintToken } from '../../src/auth/macaroon/mint.ts';
import { grants, type Scope, scopes } from '../../src/core/scope.ts';
import { sealedHeader } from '../../src/operations/sealing/sealed-form.ts';
import { startInProcess } from '../support/in-process.ts';
import { openOperations } from '../support/operations.ts';
import { mintFor } from '../support/requests.ts';
import {
  call,
  callForBytes,
  helloWorldB3,
  type InProcessService,
  type JsonAnswer,
} from '../support/service.ts';

const strange = `acme/p/ed25519/${randomUUID()}`;
const inPath = encodeURIComponent(strange);

/** Every route for which a capability is needed, with the scope that it asks for. */
const routes: readonly (readonly [operation: string, scope: Scope, method: string, path: string])[] = [
  ['create', 'kms:create', 'POST', '/keys'],
  ['list', 'kms:read', 'GET', '/keys'],
  ['read', 'kms:read', 'GET', `/keys/${inPath}`],
  ['rotate', 'kms:rotate', 'POST', `/keys/${inPath}/rotate`],
  ['destroy', 'kms:destroy', 'POST', `/keys/${inPath}/destroy`],
  ['export', 'kms:read', 'GET', `/keys/${inPath}/export`],
  ['sign', 'kms:sign', 'POST', '/sign'],
  ['sign_batch', 'kms:sign', 'POST', '/sign/batch'],
  ['verify', 'kms:verify', 'POST', '/verify'],
  ['verify_batch', 'kms:verify', 'POST', '/verify/batch'],
  ['jwks', 'kms:read', 'GET', '/jwks'],
  ['jwt', 'kms:sign', 'POST', '/jwt'],
  ['csr', 'kms:sign', 'POST', '/csr'],
  ['attest', 'kms:read', 'GET', `/attest?kid=${inPath}`],
  ['mac', 'kms:sign', 'POST', '/mac'],
  ['mac_verify', 'kms:verify', 'POST', '/mac/verify'],
  ['encrypt', 'kms:encrypt', 'POST', '/encrypt'],
  ['encrypt_batch', 'kms:encrypt', 'POST', '/encrypt/batch'],
  ['decrypt', 'kms:decrypt', 'POST', '/decrypt'],
  ['decrypt_batch', 'kms:decrypt', 'POST', '/decrypt/batch'],
  ['wrap', 'kms:wrap', 'POST', '/wrap'],
  ['unwrap', 'kms:unwrap', 'POST', '/unwrap'],
  ['rewrap', 'kms:unwrap', 'POST', '/rewrap'],
  ['datakey', 'kms:wrap', 'POST', '/datakey'],
  ['random', 'kms:read', 'POST', '/random'],
  ['derive', 'kms:derive', 'POST', '/derive'],
  ['seal', 'kms:wrap', 'POST', '/seal'],
  ['unseal', 'kms:unwrap', 'POST', '/unseal'],
  ['import', 'kms:create', 'POST', '/keys/import'],
  ['import_version', 'kms:rotate', 'POST', `/keys/${inPath}/import`],
  ['import_wrapping_key', 'kms:create', 'GET', '/keys/import/wrapping-key'],
  ['load', 'kms:admin', 'GET', '/admin/load'],
  ['root', 'kms:admin', 'GET', '/admin/root'],
  ['root_rotate', 'kms:admin', 'POST', '/admin/root/rotate'],
  ['audit_checkpoint', 'kms:audit', 'GET', '/audit/checkpoint'],
  ['audit_tile', 'kms:audit', 'GET', '/audit/tile/0/000'],
  ['audit_proof', 'kms:audit', 'GET', '/audit/proof?index=0'],
  ['audit_vkeys', 'kms:audit', 'GET', '/audit/vkeys'],
  ['audit_rotate_keys', 'kms:admin', 'POST', '/audit/rotate-keys'],
  ['audit_records', 'kms:audit', 'GET', '/audit/records'],
  ['audit_accept', 'kms:admin', 'POST', '/audit/accept'],
  ['audit_pending', 'kms:admin', 'GET', '/audit/accept'],
  ['token_mint', 'kms:admin', 'POST', '/token/mint'],
  ['token_discharge', 'kms:read', 'POST', '/token/discharge'],
  ['token_revoke', 'kms:admin', 'POST', '/token/revoke'],
  ['token_keys', 'kms:admin', 'GET', '/token/keys'],
  ['token_rotate_key', 'kms:admin', 'POST', '/token/keys'],
];

/** What comes in with another scope too, until its body says which ones it needs. */
const entersWith: Readonly<Record<string, readonly Scope[]>> = { rewrap: ['kms:decrypt'] };

let service: InProcessService;
let rootKey: Uint8Array;

before(async () => {
  service = await startInProcess();
  rootKey = readFileSync(join(service.dataDir, 'macaroon.key'));
});

function ask(
  token: string | undefined,
  method: string,
  path: string,
  body: unknown = {},
): Promise<JsonAnswer> {
  return call(service, token, method, `/v1/kms${path}`, method === 'GET' ? undefined : body);
}

const mint = (wanted: Partial<Parameters<typeof mintFor>[1]> = {}) =>
  mintFor(service.dataDir, { tenant: 'acme', scopes, ...wanted });

/** As the answer was, without what differs from one to the next. */
function wordsOf({ status, body }: JsonAnswer) {
  const { ts, request_id, ...error } = body.error;
  return { status, ...error };
}

test('the table has every operation for which a capability is needed', (t) => {
  const { operations } = openOperations(t);
  const { lifecycle, receipts, trust, ...own } = operations;
  const named = Object.values(own).filter(({ kind }) => kind !== 'entry');
  assert.deepEqual(routes.map(([operation]) => operation).sort(), named.map(({ name }) => name).sort());
  for (const { name, ...operation } of named) {
    assert.equal(
      routes.find(([one]) => one === name)?.[1],
      'scope' in operation ? operation.scope : undefined,
    );
  }
});

suite(`each route with each scope alone: ${routes.length * scopes.length} cases`, () => {
  for (const [operation, wanted, method, path] of routes) {
    test(`${operation} wants ${wanted}`, async () => {
      for (const scope of scopes) {
        const token = mint({ scopes: [scope] });
        const body = method === 'GET' ? undefined : '{}';
        const { status, text } = await callForBytes(service, token, method, `/v1/kms${path}`, body);
        assert.notEqual(status, 401, scope);
        const lacks = status === 403 && text.includes('"hint":"the capability lacks the scope');
        const enters = [wanted, ...(entersWith[operation] ?? [])].some((one) =>
          grants(new Set([scope]), one),
        );
        assert.equal(lacks, !enters, `${scope}: ${text.slice(0, 500)}`);
      }
    });
  }
});

function altered(token: string, change: (caveats: readonly string[]) => readonly string[]): string {
  const { identifier, signature } = library.importMacaroon(Buffer.from(token, 'base64url'));
  const inspected = inspectToken(token);
  assert.ok(inspected.ok);
  return Buffer.from(encodeBinary(identifier, change(inspected.value.caveats), signature)).toString(
    'base64url',
  );
}

const dayMs = 86_400_000;
const unwrap = (minted: ReturnType<typeof mintToken>) => {
  assert.ok(minted.ok);
  return minted.value;
};

/** Tokens that open nothing, whatever is asked for. */
const bad: Readonly<Record<string, () => string | undefined | Promise<string>>> = {
  none: () => undefined,
  'of no form': () => 'nonsense',
  'under another root key': () => unwrap(mintToken({ rootKey: randomBytes(32), tenant: 'acme', scopes })),
  'under a root key that is not there': () =>
    unwrap(mintToken({ rootKey, rootKeyId: 7, tenant: 'acme', scopes })),
  expired: () => mint({ expiresAtMs: Date.now() - dayMs }),
  'not valid yet': () => mint({ notBeforeMs: Date.now() + dayMs }),
  'with a caveat dropped': () => altered(mint({ caveats: ['operation = sign'] }), (all) => all.slice(0, -1)),
  'with its scope widened': () =>
    altered(mint({ scopes: ['kms:verify'] }), ([tenant = '']) => [tenant, `scope = ${scopes.join()}`]),
  'with caveats in another order': () => altered(mint(), (all) => [...all].reverse()),
  'with another tenant': () => altered(mint({ tenant: 'other' }), ([, ...all]) => ['tenant = acme', ...all]),
  'without a tenant': () => altered(mint(), ([, ...all]) => all),
  'for two tenants': () => unwrap(attenuateToken(mint(), { tenant: 'other' })),
  'for another audience': () => mint({ caveats: ['audience = elsewhere'] }),
  'for another address': () => mint({ caveats: ['address = 192.0.2.1'] }),
  'for a certificate': () => mint({ caveats: [`cert_sha256 = ${'a'.repeat(64)}`] }),
  'for a user': () => mint({ caveats: ['peer_uid = 0'] }),
  'of dual control, without a discharge': () => mint({ dualControl: true }),
  async revoked() {
    const token = mint();
    assert.equal((await ask(service.token, 'POST', '/token/revoke', { token })).status, 200);
    return token;
  },
};

suite(`each route with each bad capability: ${routes.length * Object.keys(bad).length} cases`, () => {
  for (const [name, make] of Object.entries(bad)) {
    test(`a capability ${name} is refused on every route, in the same words`, async () => {
      const token = await make();
      const answers = new Set<string>();
      for (const [operation, , method, path] of routes) {
        const answer = await ask(token, method, path);
        assert.equal(answer.status, 401, operation);
        assert.equal(answer.body.error.code, 'NoCapability');
        answers.add(JSON.stringify(wordsOf(answer)));
      }
      assert.equal(answers.size, 1);
    });
  }
});

suite(`each route with a capability for another operation: ${routes.length} cases`, () => {
  for (const [operation, , method, path] of routes) {
    test(`${operation} is not permitted by \`operation\` of another one`, async () => {
      // With a body that is one of the operation, as what cannot be read is told to be so.
      const other = operation === 'load' ? 'list' : 'load';
      const answer = await ask(mint({ caveats: [`operation = ${other}`] }), method, path, bodies[operation]);
      if (operation.endsWith('_batch')) {
        assert.deepEqual(
          answer.body.results.map(({ error }: { error: { code: string } }) => error.code),
          ['NoCapability'],
        );
      } else {
        assert.deepEqual(
          [answer.status, answer.body.error.code],
          [403, 'NoCapability'],
          JSON.stringify(answer.body),
        );
      }
    });
  }
});

const signature = { kid: strange, signature_b64: 'AAAA' };
const sign = { kid: strange, payload_b3: helloWorldB3 };
const verify = { payload_b3: helloWorldB3, sigs: [signature] };
const encrypt = { kid: strange, plaintext_b64: '' };
const decrypt = { kid: strange, ciphertext_b64: '', nonce_b64: '' };
const wrapped = { kid: strange, wrapped_b64: '' };
/** SubjectPublicKeyInfo of the Ed25519 key of RFC 8032, test 1. */
const spki_b64 = 'MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=';
const bodies: Readonly<Record<string, unknown>> = {
  create: { purpose: 'p', alg: 'ed25519' },
  ...{ sign, verify, sign_batch: { items: [sign] }, verify_batch: { items: [verify] } },
  jwt: { kid: strange, claims: {} },
  csr: { kid: strange, subject: 'CN=a' },
  mac: { kid: strange, message_b64: '' },
  mac_verify: { kid: strange, message_b64: '', mac_b64: '' },
  ...{ encrypt, encrypt_batch: { items: [encrypt] }, decrypt, decrypt_batch: { items: [decrypt] } },
  wrap: encrypt,
  ...{ unwrap: wrapped, rewrap: wrapped, datakey: { kid: strange, size: 32 }, random: { size: 1 } },
  derive: { kid: strange, context: { origin: 'o', instance: 'i', epoch: 1 }, alg: 'aes-256-gcm' },
  seal: { purpose: 'p', plaintext_b64: '' },
  unseal: {
    sealed_b64: Buffer.from(sealedHeader(`acme/p/xaes-256-gcm/${randomUUID()}#v1`)).toString('base64'),
  },
  import: { purpose: 'p', alg: 'ed25519', spki_b64 },
  import_version: { spki_b64 },
  audit_accept: { reason: 'none' },
  token_mint: { scopes: ['kms:sign'] },
  token_revoke: { tenant: 'acme' },
  token_discharge: {
    ...{ caveat_id: 'AAAA', operation: 'rotate', kid: strange },
    request: { op_id: randomUUID() },
  },
};

test('a capability for some operations or keys sees no names in the metrics', async () => {
  await ask(mint(), 'POST', '/keys', { purpose: 'named', alg: 'ed25519' });
  const metrics = async (caveats: readonly string[]) =>
    (
      await callForBytes(
        service,
        mintFor(service.dataDir, { tenant: 'default', scopes, caveats }),
        'GET',
        '/metrics',
      )
    ).text;
  assert.match(await metrics([]), /"acme"/);
  assert.match(await metrics(['operation = metrics']), /"acme"/);
  for (const caveat of ['operation = load', 'purpose = named'])
    assert.doesNotMatch(await metrics([caveat]), /"acme"/);
});

suite('keys that do not exist, and keys that are not yours', () => {
  const keyed = [
    ...['read', 'rotate', 'destroy', 'sign', 'verify', 'mac', 'mac_verify', 'derive', 'import_version'],
    ...['encrypt', 'decrypt', 'wrap', 'unwrap', 'rewrap', 'datakey'],
  ];
  let theirs: string;
  let mine: string;

  before(async () => {
    const make = async (tenant: string, purpose: string) => {
      const made = await ask(mint({ tenant }), 'POST', '/keys', { purpose, alg: 'ed25519' });
      assert.equal(made.status, 201);
      return made.body.kid.replace('#v1', '');
    };
    [theirs, mine] = [await make('other', 'p'), await make('acme', 'q')];
  });

  for (const operation of keyed) {
    test(`${operation} answers both, and those that a caveat hides, the same`, async () => {
      const [, , method = '', path = ''] = routes.find(([name]) => name === operation) ?? [];
      const about = (token: string, kid: string) => {
        const body = JSON.parse(JSON.stringify(bodies[operation] ?? {}).replaceAll(strange, kid));
        return ask(token, method, path.replace(inPath, encodeURIComponent(kid)), body);
      };
      const plain = mint();
      const asked = [await about(plain, strange), await about(plain, theirs)];
      for (const caveat of ['purpose = p', 'alg = rsa-2048', 'kid_prefix = acme/p/', `kid = ${strange}`]) {
        const narrow = mint({ caveats: [caveat] });
        asked.push(
          await about(narrow, mine),
          await about(narrow, theirs),
          await about(narrow, mine.replace(/.{4}$/, '0000')),
        );
      }
      for (const answer of asked) assert.deepEqual(wordsOf(answer), wordsOf(asked[0] as JsonAnswer));
      assert.equal(asked[0]?.status, 404);
    });
  }
});

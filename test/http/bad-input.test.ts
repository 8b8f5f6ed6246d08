import assert from 'node:assert/strict';
import { createHash, randomUUID } from 'node:crypto';
import test, { after, before, describe } from 'node:test';
import { attenuateToken, mintToken } from '../../src/auth/macaroon/mint.ts';
import {
  allScopes,
  assertEnvelope,
  exchange,
  metric,
  mintFor,
  type RawRequest,
} from '../support/requests.ts';
import { call, helloWorldB3, type RunningService, startService } from '../support/service.ts';

/** What the cases speak of; filled once the service runs. */
interface Facts {
  readonly token: string;
  readonly kid: string;
  readonly id: string;
  readonly mlDsa: string;
  readonly rsa: string;
  readonly destroyed: string;
  readonly foreign: string;
  readonly missing: string;
  readonly signature: string;
  readonly usedOpId: string;
  readonly tokens: Readonly<Record<string, string>>;
}

interface Case {
  readonly name: string;
  readonly request: (facts: Facts) => Partial<RawRequest> & { readonly json?: unknown };
  readonly status: number;
  readonly code: string;
}

const cases: Case[] = [];

function refused(
  name: string,
  status: number,
  code: string,
  request: (facts: Facts) => Partial<RawRequest> & { readonly json?: unknown },
): void {
  cases.push({ name, request, status, code });
}

/** Stands in everything that is wrong; no answer may contain it. */
const canary = 'kanarienvogel';

const path = (kid: string, action = '') => `/v1/kms/keys/${encodeURIComponent(kid)}${action}`;
const flipped = (text: string, at: number) =>
  `${text.slice(0, at)}${text[at] === 'A' ? 'B' : 'A'}${text.slice(at + 1)}`;

// --- What is wrong with a body whatever it is for.

interface BodyRoute {
  readonly name: string;
  readonly path: (facts: Facts) => string;
  readonly good: (facts: Facts) => Record<string, unknown>;
  readonly emptyIsFine?: boolean;
}

const bodyRoutes: readonly BodyRoute[] = [
  { name: 'create', path: () => '/v1/kms/keys', good: () => ({ purpose: 'p', alg: 'ed25519' }) },
  { name: 'rotate', path: ({ kid }) => path(kid, '/rotate'), good: () => ({}), emptyIsFine: true },
  {
    name: 'destroy',
    path: ({ kid }) => path(kid, '/destroy'),
    good: () => ({ version: 7 }),
    emptyIsFine: true,
  },
  { name: 'sign', path: () => '/v1/kms/sign', good: ({ kid }) => ({ kid, payload_b3: helloWorldB3 }) },
  {
    name: 'verify',
    path: () => '/v1/kms/verify',
    good: ({ kid, signature }) => ({
      payload_b3: helloWorldB3,
      sigs: [{ kid, signature_b64: signature }],
    }),
  },
  {
    name: 'sign batch',
    path: () => '/v1/kms/sign/batch',
    good: ({ kid }) => ({ items: [{ kid, payload_b3: helloWorldB3 }] }),
  },
  {
    name: 'verify batch',
    path: () => '/v1/kms/verify/batch',
    good: ({ kid, signature }) => ({
      items: [{ payload_b3: helloWorldB3, sigs: [{ kid, signature_b64: signature }] }],
    }),
  },
];

const badTexts: Readonly<Record<string, (good: string) => string | Uint8Array>> = {
  'no JSON at all': () => canary,
  'JSON that breaks off': (good) => good.slice(0, -1),
  'a trailing comma': (good) => good.replace(/\}$/, ',}'),
  'something after the JSON': (good) => `${good} ${canary}`,
  'a comment': (good) => `/* ${canary} */ ${good}`,
  'a byte that is never UTF-8': () => Buffer.from(`{"purpose":"${canary}\xff"}`, 'latin1'),
  'an overlong UTF-8 form': () =>
    Buffer.concat([Buffer.from('{"a":"'), Buffer.from([0xc0, 0xaf]), Buffer.from('"}')]),
  'a byte order mark': (good) => `\ufeff${good}`,
  'UTF-16': (good) => Buffer.from(good, 'utf16le'),
  'a control character in a string': (good) => good.replace('{', `{"a\u0001${canary}":1,`),
  'an array': (good) => `[${good}]`,
  null: () => 'null',
  'a string': () => `"${canary}"`,
  'a number': () => '7',
  'a boolean': () => 'true',
  'fifty thousand brackets': () => '['.repeat(50_000),
  'an unknown member': (good) => good.replace('{', `{"${canary}":1,`).replace(',}', '}'),
  'an unknown member with a slash': (good) =>
    good.replace('{', `{"${canary}/${canary}":1,`).replace(',}', '}'),
  'the member __proto__': (good) => good.replace('{', `{"__proto__":{"${canary}":1},`).replace(',}', '}'),
  'the member constructor': (good) => good.replace('{', '{"constructor":{},').replace(',}', '}'),
  'the member toString': (good) => good.replace('{', '{"toString":null,').replace(',}', '}'),
};

for (const route of bodyRoutes) {
  for (const [what, spoil] of Object.entries(badTexts)) {
    refused(`${route.name}: ${what}`, 400, 'BadRequest', (facts) => ({
      path: route.path(facts),
      body: spoil(JSON.stringify(route.good(facts))),
    }));
  }
  if (route.emptyIsFine !== true) {
    refused(`${route.name}: no body`, 400, 'BadRequest', (facts) => ({ path: route.path(facts) }));
    refused(`${route.name}: an empty object`, 400, 'BadRequest', (facts) => ({
      path: route.path(facts),
      json: {},
    }));
  }
  refused(`${route.name}: a body over the limit`, 413, 'TooLarge', (facts) => ({
    path: route.path(facts),
    // Never sent: the length alone is refused.
    headers: { 'content-length': String(2 ** 20 + 1) },
    body: `{"purpose":"${canary}`,
  }));
  refused(`${route.name}: a compressed body`, 415, 'Unsupported', (facts) => ({
    path: route.path(facts),
    headers: { 'content-encoding': 'gzip' },
    json: route.good(facts),
  }));
  refused(`${route.name}: a query`, 400, 'BadRequest', (facts) => ({
    path: `${route.path(facts)}?${canary}=1`,
    json: route.good(facts),
  }));
  refused(`${route.name}: no capability`, 401, 'NoCapability', (facts) => ({
    path: route.path(facts),
    json: route.good(facts),
    headers: { authorization: '' },
  }));
  refused(`${route.name}: a capability without the scope`, 403, 'NoCapability', (facts) => ({
    path: route.path(facts),
    json: route.good(facts),
    token: facts.tokens[`all but ${route.name.split(' ')[0]}`] as string,
  }));
  refused(`${route.name}: PUT`, 405, 'Unsupported', (facts) => ({
    path: route.path(facts),
    json: route.good(facts),
    method: 'PUT',
  }));
}

// --- Members of the wrong type or form.

const wrongTexts: Readonly<Record<string, unknown>> = {
  'a number': 7,
  null: null,
  'an object': {},
  'an array': [canary],
  empty: '',
};

function badMember(
  route: string,
  member: string,
  values: Readonly<Record<string, unknown>>,
  base: (facts: Facts) => Record<string, unknown>,
  status = 400,
  code = 'BadRequest',
): void {
  for (const [what, value] of Object.entries(values)) {
    refused(`${route}: ${member} is ${what}`, status, code, (facts) => ({
      path: `/v1/kms/${route}`,
      json: { ...base(facts), [member]: value },
    }));
  }
}

const create = () => ({ purpose: 'p', alg: 'ed25519' });
badMember(
  'keys',
  'purpose',
  {
    ...wrongTexts,
    'in capitals': canary.toUpperCase(),
    'with a slash': `${canary}/x`,
    'with a leading dot': `.${canary}`,
    'with a line end': `${canary}\n`,
    'of 64 characters': canary.padEnd(64, 'x'),
    'not ASCII': `${canary}ä`,
  },
  create,
);
badMember('keys', 'alg', { ...wrongTexts, 'of 65 characters': canary.padEnd(65, 'x') }, create);
badMember(
  'keys',
  'alg',
  { unknown: canary, 'in capitals': 'ED25519', ['__proto__']: '__proto__', 'a scheme and no key': 'PS256' },
  create,
  400,
  'Unsupported',
);
badMember('keys', 'tenant', { 'a number': 7, 'of 64 characters': canary.padEnd(64, 'x') }, create);
badMember('keys', 'tenant', { 'another tenant': 'other', 'no tenant': '../x' }, create, 403, 'NoCapability');
badMember('keys', 'policy', { 'a string': canary, 'an object': { mode: 'and' } }, create);
const badOpIds = {
  'a number': 7,
  null: null,
  'no UUID': canary,
  'a UUID with braces': `{${randomUUID()}}`,
  'a UUID without hyphens': randomUUID().replaceAll('-', ''),
  'a UUID and more': `${randomUUID()}x`,
};
badMember('keys', 'op_id', badOpIds, create);
refused('create: no purpose', 400, 'BadRequest', () => ({ path: '/v1/kms/keys', json: { alg: 'ed25519' } }));
refused('create: no alg', 400, 'BadRequest', () => ({ path: '/v1/kms/keys', json: { purpose: canary } }));
refused('create: an algorithm that is not allowed', 403, 'PolicyViolation', () => ({
  path: '/v1/kms/keys',
  json: { purpose: 'p', alg: 'rsa-4096' },
}));
refused('create: the op_id of another request', 409, 'Conflict', ({ usedOpId }) => ({
  path: '/v1/kms/keys',
  json: { purpose: 'another', alg: 'ed25519', op_id: usedOpId },
}));
refused('rotate: the op_id of another request', 409, 'Conflict', ({ usedOpId, mlDsa }) => ({
  path: path(mlDsa, '/rotate'),
  json: { op_id: usedOpId.toUpperCase() },
}));
refused('destroy: the op_id of another request', 409, 'Conflict', ({ usedOpId, mlDsa }) => ({
  path: path(mlDsa, '/destroy'),
  json: { op_id: usedOpId },
}));
for (const [what, value] of Object.entries(badOpIds)) {
  refused(`rotate: op_id is ${what}`, 400, 'BadRequest', ({ mlDsa }) => ({
    path: path(mlDsa, '/rotate'),
    json: { op_id: value },
  }));
}
for (const version of [0, -1, 1.5, 2 ** 31, '1', null, [1], 'x'.repeat(100)]) {
  refused(`destroy: version ${JSON.stringify(version).slice(0, 20)}`, 400, 'BadRequest', ({ id }) => ({
    path: path(id, '/destroy'),
    json: { version },
  }));
}
refused('destroy: the kid and version differ', 400, 'BadRequest', ({ id }) => ({
  path: path(`${id}#v1`, '/destroy'),
  json: { version: 2 },
}));
refused('destroy: a version in the body that does not exist', 404, 'NotFound', ({ id }) => ({
  path: path(id, '/destroy'),
  json: { version: 99 },
}));
refused('destroy: the current version', 409, 'Conflict', ({ id }) => ({
  path: path(id, '/destroy'),
  json: { version: 2 },
}));

const sign = ({ kid }: Facts) => ({ kid, payload_b3: helloWorldB3 });
const badDigests = {
  ...wrongTexts,
  'of 63 digits': helloWorldB3.slice(1),
  'of 65 digits': `${helloWorldB3}0`,
  'of 64 digits and a line end': `${helloWorldB3}\n`,
  'in capitals': helloWorldB3.toUpperCase(),
  'not hexadecimal': `g${helloWorldB3.slice(1)}`,
  base64: Buffer.from(helloWorldB3, 'hex').toString('base64'),
  'with a prefix': `0x${helloWorldB3.slice(2)}`,
  'with full-width digits': `０${helloWorldB3.slice(1)}`,
};
badMember('sign', 'payload_b3', badDigests, sign);
badMember('sign', 'kid', { 'a number': 7, null: null, 'an array': [canary], empty: '' }, sign);
badMember('sign', 'alg', { ...wrongTexts, 'of 65 characters': canary.padEnd(65, 'x') }, sign);
badMember(
  'sign',
  'alg',
  { unknown: canary, 'of another key': 'ml-dsa-65', 'of another kind': 'PS256', ['__proto__']: '__proto__' },
  sign,
  400,
  'Unsupported',
);
badMember('sign', 'op_id', badOpIds, sign);
const badPolicies = {
  'a string': 'and',
  'an array': ['and'],
  'with an unknown mode': { mode: canary },
  'with a mode in capitals': { mode: 'AND' },
  'with a mode that is a list': { mode: ['and'] },
  'with an unknown member': { mode: 'and', [canary]: true },
  'with the member constructor': { constructor: 1 },
};
badMember('sign', 'policy', badPolicies, sign);
refused('sign: pq_only with a key that is not post-quantum', 403, 'PolicyViolation', ({ kid }) => ({
  path: '/v1/kms/sign',
  json: { kid, payload_b3: helloWorldB3, policy: { mode: 'pq_only' } },
}));
refused('sign: RS256 with pq_only', 403, 'PolicyViolation', ({ rsa }) => ({
  path: '/v1/kms/sign',
  json: { kid: rsa, payload_b3: helloWorldB3, alg: 'RS256', policy: { mode: 'pq_only' } },
}));
refused('sign: kid and kid_set', 400, 'BadRequest', ({ kid }) => ({
  path: '/v1/kms/sign',
  json: { kid, kid_set: [kid], payload_b3: helloWorldB3 },
}));
refused('sign: no kid of any kind', 400, 'BadRequest', () => ({
  path: '/v1/kms/sign',
  json: { payload_b3: helloWorldB3 },
}));
for (const member of ['kid_set', 'kid_or_set']) {
  for (const [what, set] of Object.entries<(kid: string) => unknown>({
    empty: () => [],
    'of nine kids': (kid) => Array.from({ length: 9 }, () => kid),
    'with a number': (kid) => [kid, 7],
    'with a list': (kid) => [[kid]],
    'with what is no kid': (kid) => [kid, canary],
    'an object': (kid) => ({ 0: kid }),
  })) {
    refused(`sign: ${member} is ${what}`, 400, 'BadRequest', ({ kid }) => ({
      path: '/v1/kms/sign',
      json: { [member]: set(kid), payload_b3: helloWorldB3 },
    }));
  }
  refused(`sign: ${member} with another tenant's kid`, 404, 'NotFound', ({ kid, foreign }) => ({
    path: '/v1/kms/sign',
    json: { [member]: [kid, foreign], payload_b3: helloWorldB3 },
  }));
}

const verify = ({ kid, signature }: Facts) => ({
  payload_b3: helloWorldB3,
  sigs: [{ kid, signature_b64: signature }],
});
badMember('verify', 'payload_b3', badDigests, verify);
badMember('verify', 'policy', badPolicies, verify);
badMember('verify', 'sigs', { ...wrongTexts, 'an empty list': [], 'a list of null': [null] }, verify);
refused('verify: 17 signatures', 400, 'BadRequest', ({ kid, signature }) => ({
  path: '/v1/kms/verify',
  json: {
    payload_b3: helloWorldB3,
    sigs: Array.from({ length: 17 }, () => ({ kid, signature_b64: signature })),
  },
}));
const badSignatures: Readonly<Record<string, (signature: string) => unknown>> = {
  'a number': () => 7,
  null: () => null,
  empty: () => '',
  'not base64': () => `${canary}!!`,
  'without its padding': (signature) => signature.replace(/=+$/, ''),
  'with too much padding': (signature) => `${signature}====`,
  'of the URL alphabet': () => `-_${'A'.repeat(84)}==`,
  'with a line end': (signature) => `${signature}\n`,
  'with a space within': (signature) => `${signature.slice(0, 40)} ${signature.slice(41)}`,
  'with bits beyond its end': (signature) => signature.replace(/.==$/, 'B=='),
  'longer than any signature': () => 'A'.repeat(6_176),
};
for (const [what, of] of Object.entries(badSignatures)) {
  refused(`verify: the signature is ${what}`, 400, 'BadRequest', ({ kid, signature }) => ({
    path: '/v1/kms/verify',
    json: { payload_b3: helloWorldB3, sigs: [{ kid, signature_b64: of(signature) }] },
  }));
}
for (const [what, member] of Object.entries({
  'an unknown member': { [canary]: 1 },
  'the member constructor': { constructor: 1 },
  'a number as alg': { alg: 7 },
  'an empty alg': { alg: '' },
})) {
  refused(`verify: a signature has ${what}`, 400, 'BadRequest', ({ kid, signature }) => ({
    path: '/v1/kms/verify',
    json: { payload_b3: helloWorldB3, sigs: [{ kid, signature_b64: signature, ...member }] },
  }));
}
refused('verify: a signature without kid', 400, 'BadRequest', ({ signature }) => ({
  path: '/v1/kms/verify',
  json: { payload_b3: helloWorldB3, sigs: [{ signature_b64: signature }] },
}));
refused('verify: a signature without its bytes', 400, 'BadRequest', ({ kid }) => ({
  path: '/v1/kms/verify',
  json: { payload_b3: helloWorldB3, sigs: [{ kid }] },
}));
refused('verify: a good signature and one by a key of another tenant', 404, 'NotFound', (facts) => ({
  path: '/v1/kms/verify',
  json: {
    payload_b3: helloWorldB3,
    sigs: [facts.kid, facts.foreign].map((kid) => ({ kid, signature_b64: facts.signature })),
  },
}));

for (const route of ['sign/batch', 'verify/batch']) {
  for (const [what, items] of Object.entries<unknown>({
    empty: [],
    'an object': { 0: {} },
    null: null,
    'a string': canary,
    'of 17 items': Array.from({ length: 17 }, () => ({})),
  })) {
    refused(`${route}: items is ${what}`, 400, 'BadRequest', () => ({
      path: `/v1/kms/${route}`,
      json: { items },
    }));
  }
}

// --- Kids that are none, in a path and in a body.

const uuid = '01234567-89ab-4def-8123-456789abcdef';
const badKids: Readonly<Record<string, string>> = {
  'one word': canary,
  'three pieces': `default/${canary}/ed25519`,
  'five pieces': `default/${canary}/ed25519/${uuid}/x`,
  'an empty tenant': `/${canary}/ed25519/${uuid}`,
  'an empty purpose': `default//ed25519/${uuid}`,
  'an unknown algorithm': `default/p/${canary}/${uuid}`,
  'an alias for an algorithm': `default/p/ml-dsa/${uuid}`,
  'an inherited name for an algorithm': `default/p/constructor/${uuid}`,
  'capitals in the tenant': `Default/p/ed25519/${uuid}`,
  'capitals in the UUID': `default/p/ed25519/${uuid.toUpperCase()}`,
  'a short UUID': `default/p/ed25519/${uuid.slice(1)}`,
  'version 0': `default/p/ed25519/${uuid}#v0`,
  'a version with a leading zero': `default/p/ed25519/${uuid}#v01`,
  'version 2^31': `default/p/ed25519/${uuid}#v2147483648`,
  'a version of twenty digits': `default/p/ed25519/${uuid}#v${'9'.repeat(20)}`,
  'a negative version': `default/p/ed25519/${uuid}#v-1`,
  'a version without its v': `default/p/ed25519/${uuid}#1`,
  'an empty version': `default/p/ed25519/${uuid}#`,
  'two versions': `default/p/ed25519/${uuid}#v1#v1`,
  'full-width digits': `default/p/ed25519/${uuid}#v１`,
  'a letter that is not ASCII': `default/${canary}ä/ed25519/${uuid}`,
  'a NUL': `default/p\0/ed25519/${uuid}`,
  'a space at the end': `default/p/ed25519/${uuid} `,
  dots: `default/../ed25519/${uuid}`,
  '256 characters': `default/${canary.padEnd(256 - 52, 'x')}/ed25519/${uuid}`,
};
for (const [what, kid] of Object.entries(badKids)) {
  for (const action of ['', '/rotate', '/destroy']) {
    refused(`a kid of ${what} in the path${action}`, 400, 'BadRequest', () => ({
      method: action === '' ? 'GET' : 'POST',
      path: path(kid, action),
    }));
  }
  refused(`sign: a kid of ${what}`, 400, 'BadRequest', () => ({
    path: '/v1/kms/sign',
    json: { kid, payload_b3: helloWorldB3 },
  }));
  refused(`verify: a kid of ${what}`, 400, 'BadRequest', ({ signature }) => ({
    path: '/v1/kms/verify',
    json: { payload_b3: helloWorldB3, sigs: [{ kid, signature_b64: signature }] },
  }));
}
refused('sign: a kid of 257 characters', 400, 'BadRequest', () => ({
  path: '/v1/kms/sign',
  json: { kid: canary.padEnd(257, 'x'), payload_b3: helloWorldB3 },
}));
refused('a kid of 3,000 characters in the path', 400, 'BadRequest', () => ({
  method: 'GET',
  path: path(canary.padEnd(3_000, 'x')),
}));
for (const broken of ['%', '%2', '%zz', '%c3', '%ff%fe', '%ed%a0%80', '%u0041']) {
  refused(`broken percent-encoding ${broken} in a path`, 400, 'BadRequest', () => ({
    method: 'GET',
    path: `/v1/kms/keys/${canary}${broken}`,
  }));
}
refused('an empty kid in the path', 400, 'BadRequest', () => ({ method: 'GET', path: '/v1/kms/keys/' }));
refused('rotate: an empty kid in the path', 400, 'BadRequest', () => ({ path: '/v1/kms/keys//rotate' }));
refused('a kid that is encoded twice', 400, 'BadRequest', ({ kid }) => ({
  method: 'GET',
  path: `/v1/kms/keys/${encodeURIComponent(encodeURIComponent(kid))}`,
}));

// --- Keys that are not there, not the caller's, or not in a state for it.

for (const [what, kidOf, status, code] of [
  ["another tenant's key", (facts: Facts) => facts.foreign, 404, 'NotFound'],
  ['a key that does not exist', (facts: Facts) => facts.missing, 404, 'NotFound'],
  ['a version that does not exist', (facts: Facts) => `${facts.id}#v99`, 404, 'NotFound'],
] as const) {
  refused(`read: ${what}`, status, code, (facts) => ({ method: 'GET', path: path(kidOf(facts)) }));
  refused(`sign: ${what}`, status, code, (facts) => ({
    path: '/v1/kms/sign',
    json: { kid: kidOf(facts), payload_b3: helloWorldB3 },
  }));
  refused(`verify: ${what}`, status, code, (facts) => ({
    path: '/v1/kms/verify',
    json: { payload_b3: helloWorldB3, sigs: [{ kid: kidOf(facts), signature_b64: facts.signature }] },
  }));
  refused(`destroy: ${what}`, status, code, (facts) => ({ path: path(kidOf(facts), '/destroy') }));
}
for (const [what, kidOf] of [
  ["another tenant's key", (facts: Facts) => facts.foreign],
  ['a key that does not exist', (facts: Facts) => facts.missing],
] as const) {
  refused(`rotate: ${what}`, 404, 'NotFound', (facts) => ({ path: path(kidOf(facts), '/rotate') }));
}
refused('sign: an older version', 409, 'Conflict', ({ id }) => ({
  path: '/v1/kms/sign',
  json: { kid: `${id}#v1`, payload_b3: helloWorldB3 },
}));
refused('rotate: an older version', 409, 'Conflict', ({ id }) => ({ path: path(`${id}#v1`, '/rotate') }));
refused('sign: a destroyed key', 409, 'Conflict', ({ destroyed }) => ({
  path: '/v1/kms/sign',
  json: { kid: destroyed, payload_b3: helloWorldB3 },
}));
refused('rotate: a destroyed key', 409, 'Conflict', ({ destroyed }) => ({
  path: path(destroyed, '/rotate'),
}));

// --- Ways to ask for a private key.

for (const ask of ['export', 'private', 'secret', 'backup']) {
  for (const method of ['GET', 'POST']) {
    refused(`${method} ${ask}`, 403, 'ExportForbidden', ({ kid }) => ({
      method,
      path: path(kid, `/${ask}`),
    }));
  }
  refused(`${ask} of another tenant's key`, 403, 'ExportForbidden', ({ foreign }) => ({
    method: 'GET',
    path: path(foreign, `/${ask}`),
  }));
  refused(`${ask} without a capability`, 401, 'NoCapability', ({ kid }) => ({
    method: 'GET',
    path: path(kid, `/${ask}`),
    headers: { authorization: '' },
  }));
  refused(`DELETE ${ask}`, 405, 'Unsupported', ({ kid }) => ({
    method: 'DELETE',
    path: path(kid, `/${ask}`),
  }));
}

// --- Listing.

for (const [query, status, code] of [
  ['limit=0', 400, 'BadRequest'],
  ['limit=1001', 400, 'BadRequest'],
  ['limit=-1', 400, 'BadRequest'],
  ['limit=1e2', 400, 'BadRequest'],
  ['limit=01', 400, 'BadRequest'],
  ['limit=', 400, 'BadRequest'],
  ['limit=1&limit=1', 400, 'BadRequest'],
  [`${canary}=1`, 400, 'BadRequest'],
  ['__proto__=1', 400, 'BadRequest'],
  ['constructor=1', 400, 'BadRequest'],
  [`purpose=${canary.toUpperCase()}`, 400, 'BadRequest'],
  ['purpose=', 400, 'BadRequest'],
  ['purpose=a%2Fb', 400, 'BadRequest'],
  ['purpose=%ff', 400, 'BadRequest'],
  [`alg=${canary}`, 400, 'Unsupported'],
  ['alg=', 400, 'Unsupported'],
  [`cursor=${canary}`, 400, 'BadRequest'],
  ['cursor=', 400, 'BadRequest'],
  [`cursor=${Buffer.from(`other/p/ed25519/${uuid}`).toString('base64url')}`, 400, 'BadRequest'],
  [`cursor=${Buffer.from(`default/p/ed25519/${uuid}#v1`).toString('base64url')}`, 400, 'BadRequest'],
  [`cursor=${Buffer.from(`default/p/ed25519/${uuid}`).toString('base64url')}&purpose=q`, 400, 'BadRequest'],
  [`cursor=${'A'.repeat(2_000)}`, 400, 'BadRequest'],
] as const) {
  refused(`list: ${query.slice(0, 120)}`, status, code, () => ({
    method: 'GET',
    path: `/v1/kms/keys?${query}`,
  }));
}
refused('read: a query', 400, 'BadRequest', ({ kid }) => ({
  method: 'GET',
  path: `${path(kid)}?${canary}=1`,
}));
refused('list: no capability', 401, 'NoCapability', () => ({
  method: 'GET',
  path: '/v1/kms/keys',
  headers: { authorization: '' },
}));
refused('list: a capability without the scope', 403, 'NoCapability', ({ tokens }) => ({
  method: 'GET',
  path: '/v1/kms/keys',
  token: tokens['all but read'] as string,
}));
refused('read: a capability without the scope', 403, 'NoCapability', ({ tokens, kid }) => ({
  method: 'GET',
  path: path(kid),
  token: tokens['all but read'] as string,
}));
refused('export: a capability without the scope', 403, 'NoCapability', ({ tokens, kid }) => ({
  method: 'GET',
  path: path(kid, '/export'),
  token: tokens['all but read'] as string,
}));

// --- Capabilities.

for (const what of [
  'expired',
  'not yet valid',
  'attenuated into the past',
  'of another root key',
  'with its first byte changed',
  'with a byte of its caveats changed',
  'with its last byte changed',
  'cut in half',
  'with a character less',
  'with a character more',
  'twice',
  'of 5 characters',
  'padded',
]) {
  refused(`a capability ${what}`, 401, 'NoCapability', ({ tokens, kid }) => ({
    path: '/v1/kms/sign',
    token: tokens[what] as string,
    json: { kid, payload_b3: helloWorldB3 },
  }));
}
for (const [what, header] of Object.entries<(token: string) => string>({
  'of the scheme Basic': (token) => `Basic ${token}`,
  'of the scheme Macaroon': (token) => `Macaroon ${token}`,
  'without a scheme': (token) => token,
  'without a space': (token) => `Bearer${token}`,
  'with a tab': (token) => `Bearer\t${token}`,
  'with two spaces': (token) => `Bearer  ${token}`,
  'and a second one': (token) => `Bearer ${token}, Bearer ${token}`,
  'that is only a scheme': () => 'Bearer',
  'that is too long': () => `Bearer ${canary.padEnd(3_600, 'A')}`,
  'that is not ASCII': () => `Bearer ${canary}\u00e4`,
})) {
  refused(`an Authorization ${what}`, 401, 'NoCapability', ({ token, kid }) => ({
    path: '/v1/kms/sign',
    headers: { authorization: header(token) },
    json: { kid, payload_b3: helloWorldB3 },
  }));
}

// --- Paths and methods.

for (const unknown of [
  '/',
  `/${canary}`,
  '/v1/kms',
  '/v1/kms/',
  '/v1/kms/Sign',
  '/v1/kms/sign/',
  '/v1/kms//sign',
  '/v1/kms/sign/batch/x',
  '/v1/kms/./sign',
  '/v1/kms/%73ign',
  '/v1/kms/x/../sign',
  '/V1/kms/sign',
  '/v2/kms/sign',
  '/v1/kms/__proto__',
  '/v1/kms/constructor',
  '/healthz/',
]) {
  refused(`the path ${unknown}`, 404, 'NotFound', ({ kid }) => ({
    path: unknown,
    json: { kid, payload_b3: helloWorldB3 },
  }));
}
for (const [method, at] of [
  ['GET', '/v1/kms/sign'],
  ['DELETE', '/v1/kms/sign'],
  ['OPTIONS', '/v1/kms/verify'],
  ['PATCH', '/v1/kms/keys'],
  ['DELETE', `/v1/kms/keys/${encodeURIComponent(`default/p/ed25519/${uuid}`)}`],
  ['POST', `/v1/kms/keys/${encodeURIComponent(`default/p/ed25519/${uuid}`)}`],
  ['GET', `/v1/kms/keys/${encodeURIComponent(`default/p/ed25519/${uuid}`)}/rotate`],
  ['PROPFIND', '/v1/kms/sign/batch'],
] as const) {
  refused(`${method} ${at}`, 405, 'Unsupported', () => ({ method, path: at }));
}
refused('POST /metrics', 404, 'NotFound', () => ({ path: '/metrics' }));
for (const encoding of ['gzip', 'identity', 'br', 'gzip, gzip', canary]) {
  refused(`Content-Encoding: ${encoding}`, 415, 'Unsupported', ({ kid }) => ({
    path: '/v1/kms/sign',
    headers: { 'content-encoding': encoding },
    json: { kid, payload_b3: helloWorldB3 },
  }));
}

describe('bad input', { timeout: 120_000 }, () => {
  let service: RunningService;
  let facts: Facts;

  before(async () => {
    service = await startService({
      env: { KMS_BATCH_MAX_ITEMS: '16', KMS_ALLOWED_ALGS: 'ed25519,ml-dsa-65,rsa-2048' },
    });
    facts = await prepare(service);
  });
  after(async () => {
    assert.equal(await service.stop(), 0);
    assert.equal(service.log.filter((line) => /"level":"(error|fatal)"/.test(line)).join('\n'), '');
  });

  const mostOf = (wanted: (one: Case) => boolean) => cases.filter(wanted).length;
  test('are many', () => {
    assert.ok(cases.length >= 120);
    assert.ok(mostOf(({ status }) => status === 400) > 60);
    assert.equal(new Set(cases.map(({ name }) => name)).size, cases.length);
  });

  for (const { name, request, status, code } of cases) {
    test(`${name}: ${status} ${code}`, async () => {
      const { json, ...wanted } = request(facts);
      const body = wanted.body ?? (json === undefined ? undefined : JSON.stringify(json));
      const sent: RawRequest = {
        method: 'POST',
        path: '/v1/kms/sign',
        token: facts.token,
        ...wanted,
        ...(body === undefined ? {} : { body }),
      };
      const answer = await exchange(service, sent);
      assertEnvelope(answer, status, code);
      if (status === 413) assert.equal(answer.headers.connection, 'close');
      assert.equal(leaked(sent, answer.text), undefined);
    });
  }

  test("another tenant's key and one that does not exist have the same answer", async () => {
    const bodies = [];
    for (const kid of [facts.foreign, facts.missing]) {
      for (const sent of [
        { method: 'GET', path: path(kid) },
        { method: 'POST', path: path(kid, '/rotate') },
        { method: 'POST', path: path(kid, '/destroy'), body: '{"version":1}' },
        { method: 'POST', path: '/v1/kms/sign', body: JSON.stringify({ kid, payload_b3: helloWorldB3 }) },
      ]) {
        const { status, headers, text } = await exchange(service, { ...sent, token: facts.token });
        const { 'x-request-id': requestId, date, ...others } = headers;
        const fixed = text
          .replace(requestId as string, 'request id')
          .replace(/"ts":"[^"]{24}"/, '"ts":"now"');
        bodies.push({ status, others, fixed });
      }
    }
    assert.deepEqual(bodies.slice(0, 4), bodies.slice(4));
    assert.equal(bodies[0]?.status, 404);
  });

  test('a batch of bad items answers each one in its place', async () => {
    const good = { kid: facts.kid, payload_b3: helloWorldB3 };
    const items = [null, good, 7, [], {}, { ...good, [canary]: 1 }, { ...good, kid: facts.foreign }, good];
    const answer = await call(service, facts.token, 'POST', '/v1/kms/sign/batch', { items });
    assert.equal(answer.status, 200);
    const codes = answer.body.results.map((result: { error?: { code: string } }) => result.error?.code);
    const bad = 'BadRequest';
    assert.deepEqual(codes, [bad, undefined, bad, bad, bad, bad, 'NotFound', undefined]);
    for (const { error } of answer.body.results) {
      if (error === undefined) continue;
      assert.deepEqual(
        Object.keys(error).filter((member) => member !== 'hint'),
        ['code', 'message', 'retryable'],
      );
    }
    assert.ok(!JSON.stringify(answer.body).includes(canary));
  });

  test('was counted, and the service signs as before', async () => {
    const unauthenticated = mostOf(({ status }) => status === 401);
    assert.equal(await metric(service, 'auth_failures_total', 'service="ron-kms"'), unauthenticated);
    for (const [reason, count] of Object.entries({
      unauth: unauthenticated,
      scope: mostOf(({ status, code }) => status === 403 && code === 'NoCapability'),
      bad_request: mostOf(({ code }) => code === 'BadRequest'),
      too_large: mostOf(({ status }) => status === 413),
      decompress_cap: mostOf(({ status }) => status === 415),
      policy: mostOf(({ code }) => code === 'PolicyViolation'),
    })) {
      assert.equal(await metric(service, 'kms_reject_total', `reason="${reason}"`), count, reason);
    }
    const signed = await call(service, facts.token, 'POST', '/v1/kms/sign', {
      kid: facts.kid,
      payload_b3: helloWorldB3,
    });
    assert.equal(signed.status, 200);
    assert.equal(signed.body.sigs[0].signature_b64, facts.signature);
  });
});

/** Names that hints may use. */
const vocabulary = new Set(['signature_b64', 'kid_or_set', 'payload_b3', 'constructor']);

/** A piece of the request that the answer repeats, if there is one. */
function leaked({ path, headers, body }: RawRequest, text: string): string | undefined {
  const sent = [path, ...Object.values(headers ?? {}), Buffer.from(body ?? '').toString('latin1')].join(' ');
  const pieces = new Set(sent.slice(0, 100_000).split(/[^A-Za-z0-9+/=_.%-]+/));
  return [canary, ...pieces].find(
    (piece) => piece.length >= 8 && !vocabulary.has(piece) && text.includes(piece),
  );
}

async function prepare(service: RunningService): Promise<Facts> {
  const { token, dataDir } = service;
  const make = async (alg: string, by = token, more: Record<string, unknown> = {}) => {
    const made = await call(service, by, 'POST', '/v1/kms/keys', { purpose: 'p', alg, ...more });
    assert.equal(made.status, 201);
    return made.body.kid as string;
  };
  const usedOpId = randomUUID();
  const first = await make('ed25519', token, { op_id: usedOpId });
  const id = first.replace('#v1', '');
  const rotated = await call(service, token, 'POST', path(id, '/rotate'));
  const kid = rotated.body.kid as string;
  const destroyed = await make('ed25519');
  await call(service, token, 'POST', path(destroyed.replace('#v1', ''), '/destroy'));
  const signed = await call(service, token, 'POST', '/v1/kms/sign', { kid, payload_b3: helloWorldB3 });
  const other = mintFor(dataDir, { tenant: 'other', scopes: allScopes });
  const foreign = await make('ed25519', other);

  const fresh = mintFor(dataDir, { tenant: 'default', scopes: allScopes });
  const hourMs = 3_600_000;
  const now = Date.now();
  const past = attenuateToken(token, { expiresAtMs: now - hourMs });
  const strange = mintToken({
    rootKey: createHash('sha256').update('another root key').digest(),
    tenant: 'default',
    scopes: allScopes,
  });
  assert.ok(past.ok && strange.ok);
  const without = (...scopes: string[]) =>
    mintFor(dataDir, { tenant: 'default', scopes: allScopes.filter((scope) => !scopes.includes(scope)) });
  return {
    token,
    kid,
    id,
    mlDsa: (await make('ml-dsa-65')).replace('#v1', ''),
    rsa: await make('rsa-2048'),
    destroyed,
    foreign,
    missing: `default/p/ed25519/${uuid}#v1`,
    signature: signed.body.sigs[0].signature_b64,
    usedOpId,
    tokens: {
      expired: mintFor(dataDir, { tenant: 'default', scopes: allScopes, expiresAtMs: now - hourMs }),
      'not yet valid': mintFor(dataDir, { tenant: 'default', scopes: allScopes, notBeforeMs: now + hourMs }),
      'attenuated into the past': past.value,
      'of another root key': strange.value,
      'with its first byte changed': flipped(fresh, 0),
      'with a byte of its caveats changed': flipped(fresh, Math.floor(fresh.length / 2)),
      'with its last byte changed': flipped(fresh, fresh.length - 3),
      'cut in half': fresh.slice(0, fresh.length / 2),
      'with a character less': fresh.slice(0, -1),
      'with a character more': `${fresh}A`,
      twice: fresh + fresh,
      'of 5 characters': 'AgIQe',
      padded: `${fresh}=`,
      // kms:rotate also permits creating.
      'all but create': without('kms:create', 'kms:rotate'),
      'all but read': without('kms:read'),
      'all but rotate': without('kms:rotate'),
      'all but destroy': without('kms:destroy'),
      'all but sign': without('kms:sign'),
      'all but verify': without('kms:verify'),
    },
  };
}

import { helloWorldB3 } from '../support/service.ts';
import { canary, type Facts, path, refused } from './bad-input-table.ts';

// --- Kids that are none, in a path and in a body.

export const uuid = '01234567-89ab-4def-8123-456789abcdef';
export const badKids: Readonly<Record<string, string>> = {
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
for (const encoding of ['gzip', 'identity, gzip', 'br', 'gzip, gzip', canary]) {
  refused(`Content-Encoding: ${encoding}`, 415, 'Unsupported', ({ kid }) => ({
    path: '/v1/kms/sign',
    headers: { 'content-encoding': encoding },
    json: { kid, payload_b3: helloWorldB3 },
  }));
}

import { randomUUID } from 'node:crypto';
import { helloWorldB3 } from '../support/service.ts';
import { canary, type Facts, path, refused } from './bad-input-table.ts';

// --- What is wrong with a body whatever it is for.

export interface BodyRoute {
  readonly name: string;
  readonly path: (facts: Facts) => string;
  readonly good: (facts: Facts) => Record<string, unknown>;
  readonly emptyIsFine?: boolean;
}

export const bodyRoutes: readonly BodyRoute[] = [
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
  {
    name: 'derive',
    path: () => '/v1/kms/derive',
    good: ({ kid }) => ({
      kid,
      context: { origin: 'o', instance: 'i', epoch: 1 },
      alg: 'ed25519',
    }),
  },
  { name: 'seal', path: () => '/v1/kms/seal', good: () => ({ purpose: 'p', plaintext_b64: 'AAAA' }) },
  { name: 'unseal', path: () => '/v1/kms/unseal', good: () => ({ sealed_b64: 'AAAA' }) },
  {
    name: 'import',
    path: () => '/v1/kms/keys/import',
    good: () => ({ purpose: 'p', alg: 'ed25519', spki_b64: 'AAAA' }),
  },
  { name: 'import version', path: ({ kid }) => path(kid, '/import'), good: () => ({ spki_b64: 'AAAA' }) },
];

export const badTexts: Readonly<Record<string, (good: string) => string | Uint8Array>> = {
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

/** Cases of all that a body can have wrong, whatever it is for. */
export function refuseBadBodies(route: BodyRoute): void {
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

for (const route of bodyRoutes) refuseBadBodies(route);

// --- Members of the wrong type or form.

export const wrongTexts: Readonly<Record<string, unknown>> = {
  'a number': 7,
  null: null,
  'an object': {},
  'an array': [canary],
  empty: '',
};

export function badMember(
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

export const create = () => ({ purpose: 'p', alg: 'ed25519' });
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
export const badOpIds = {
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

export const sign = ({ kid }: Facts) => ({ kid, payload_b3: helloWorldB3 });
export const badDigests = {
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
export const badPolicies = {
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

export const verify = ({ kid, signature }: Facts) => ({
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
export const badSignatures: Readonly<Record<string, (signature: string) => unknown>> = {
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

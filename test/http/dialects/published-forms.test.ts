import assert from 'node:assert/strict';
import test, { type TestContext } from 'node:test';
import fc from 'fast-check';
import { parseUtc } from '../../../src/auth/utc.ts';
import { decodeBase64 } from '../../../src/core/bytes.ts';
import { isName } from '../../../src/core/name.ts';
import { kidExample } from '../../../src/http/dialects/intaglio/described.ts';
import { intaglioDialect } from '../../../src/http/dialects/intaglio/index.ts';
import { base64Form, kidForm, nameOnly, utcForm } from '../../../src/http/dialects/intaglio/schemas.ts';
import { parseKid } from '../../../src/keys/kid.ts';
import { openOperations } from '../../support/operations.ts';

/** The dialect, and the paths that it publishes. */
function surface(t: TestContext) {
  const { operations } = openOperations(t);
  const dialect = intaglioDialect(operations, { batchMaxItems: 256 });
  assert.ok(dialect.openapi !== undefined);
  // biome-ignore lint/suspicious/noExplicitAny: a description has schemas of every shape.
  return { dialect, paths: (dialect.openapi() as any).paths };
}

/** What a text may become by one change, and texts of the form itself. */
const near = (form: string, examples: readonly string[]) =>
  fc.oneof(
    fc.stringMatching(new RegExp(form)),
    fc
      .tuple(
        fc.constantFrom(...examples),
        fc.nat(),
        fc.constantFrom('', 'A', 'g', '0', '/', '#', '=', '-', '.'),
      )
      .map(([text, at, put]) => {
        const place = at % (text.length + 1);
        return `${text.slice(0, place)}${put}${text.slice(place + 1)}`;
      }),
  );

test('the published form of a kid is what a kid is', () => {
  const form = new RegExp(kidForm);
  const examples = ['acme/web/ed25519+ml-dsa-65/3f0c2b1e-8a4d-4c55-9b57-5d1f3f6f0a11#v12', kidExample];
  fc.assert(
    fc.property(near(kidForm, examples), (text) => {
      // Versions of ten digits are taken up to 2^31 - 1, and the pattern has them not.
      fc.pre(!/#v\d{10}$/.test(text));
      assert.equal(form.test(text), parseKid(text) !== undefined, text);
    }),
  );
});

test('the published forms of base64, times and names are what the service reads', () => {
  const cases: [string, readonly string[], (text: string) => boolean][] = [
    [base64Form, ['aGVsbG8=', 'aGVsbA==', 'aGVsbG8h', ''], (text) => decodeBase64(text, 4_096) !== undefined],
    [nameOnly, ['acme', 'a.b-c_9'], isName],
  ];
  for (const [form, examples, reads] of cases) {
    fc.assert(
      fc.property(near(form, examples), (text) => {
        assert.equal(new RegExp(form).test(text), reads(text), text);
      }),
    );
  }
  fc.assert(
    fc.property(near(utcForm, ['2027-01-31T12:00:00Z', '2027-01-31T12:00:00.123Z']), (text) => {
      // `date-time` beside the pattern refuses days that are none.
      if (parseUtc(text) !== undefined) assert.match(text, new RegExp(utcForm));
    }),
  );
});

interface Rule {
  readonly required?: readonly string[];
  readonly not?: Rule;
  readonly oneOf?: readonly Rule[];
  readonly anyOf?: readonly Rule[];
}

/** JSON Schema as far as it speaks of which members are there. */
function holds({ required = [], not, oneOf, anyOf }: Rule, members: ReadonlySet<string>): boolean {
  return (
    required.every((member) => members.has(member)) &&
    (not === undefined || !holds(not, members)) &&
    (oneOf === undefined || oneOf.filter((rule) => holds(rule, members)).length === 1) &&
    (anyOf === undefined || anyOf.some((rule) => holds(rule, members)))
  );
}

test('members that exclude each other do so in the description as in the service', (t) => {
  const { dialect, paths } = surface(t);
  const at = '2027-01-31T12:00:00Z';
  const cases: [path: string, always: object, members: Readonly<Record<string, unknown>>][] = [
    [
      '/sign',
      { payload_b3: '0'.repeat(64) },
      { kid: kidExample, kid_set: [kidExample], kid_or_set: kidExample },
    ],
    ['/audit/accept', {}, { reason: 'a reason', approval: '0123456789abcdef' }],
    ['/token/mint', { scopes: ['kms:sign'] }, { ttl_s: 60, expires_at: at }],
    [
      '/token/revoke',
      {},
      { token: 'a', actor: 'cap:0123456789abcdef', root_key: 1, tenant: 'acme', issued_before: at },
    ],
  ];
  for (const [path, always, members] of cases) {
    const route = dialect.find('post', `/v1/kms${path}`);
    assert.ok(route.ok);
    const rule: Rule = paths[`/v1/kms${path}`].post.requestBody.content['application/json'].schema;
    const names = Object.keys(members);
    for (let subset = 0; subset < 2 ** names.length; subset++) {
      const given = names.filter((_, n) => subset & (1 << n));
      const body = { ...always, ...Object.fromEntries(given.map((name) => [name, members[name]])) };
      const taken: boolean = route.value.endpoint.parse({
        ...{ named: undefined, query: '' },
        body: Buffer.from(JSON.stringify(body)),
      }).ok;
      assert.equal(holds(rule, new Set(Object.keys(body))), taken, `${path} with ${given.join(', ')}`);
    }
  }
});

test('parameters of the description have the bounds that the service keeps', (t) => {
  const { dialect, paths } = surface(t);
  let tried = 0;
  for (const path of ['/v1/kms/keys', '/v1/kms/audit/records', '/v1/kms/audit/proof']) {
    const route = dialect.find('get', path);
    assert.ok(route.ok);
    const takes = (query: string) =>
      route.value.endpoint.parse({ named: undefined, query, body: new Uint8Array() }).ok;
    for (const { name, in: where, required, schema } of paths[path].get.parameters) {
      if (where === 'query') assert.equal(takes(''), !required, `${path} without ${name}`);
      if (schema.type !== 'integer' || where !== 'query') continue;
      const { minimum, maximum } = schema;
      for (const [value, taken] of [
        [minimum, true],
        [maximum, true],
        [minimum - 1, false],
        [maximum + 1, false],
      ]) {
        assert.equal(takes(`${name}=${value}`), taken, `${path} with ${name}=${value}`);
        tried++;
      }
    }
  }
  assert.equal(tried, 16);
});

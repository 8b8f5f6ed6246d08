import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import test from 'node:test';
import { createOpaPolicy, type OpaOptions } from '../../src/policy/opa.ts';
import type { PolicyQuestion } from '../../src/policy/policy.ts';

const question: PolicyQuestion = {
  ...{ tenant: 'acme', actor: 'cap:0123456789abcdef', operation: 'sign' },
  ...{ kid: 'acme/invoices/ed25519/0', purpose: 'invoices', alg: 'ed25519' },
};

/** Stands in for OPA's Data API. */
async function withOpa(
  answer: (response: ServerResponse, request: IncomingMessage) => void,
  use: (parts: Parts) => Promise<void>,
  options: Partial<OpaOptions> = {},
): Promise<void> {
  const asked: unknown[] = [];
  const failures: string[] = [];
  let nowMs = 0;
  const server = createServer(async (request, response) => {
    asked.push([request.method, request.url, JSON.parse(await text(request))]);
    answer(response, request);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const policy = createOpaPolicy({
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1/data/intaglio/decision`,
    clock: { monotonicMs: () => nowMs, utcMs: () => nowMs },
    onFailure: (cause) => failures.push(cause),
    timeoutMs: 5_000,
    ...options,
  });
  const pass = (ms: number) => {
    nowMs += ms;
  };
  try {
    await use({ decide: async (asking = question) => policy.decide(asking), asked, failures, pass });
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

interface Parts {
  readonly decide: (asking?: PolicyQuestion) => Promise<unknown>;
  readonly asked: readonly unknown[];
  readonly failures: readonly string[];
  readonly pass: (ms: number) => void;
}

const says = (value: unknown) => (response: ServerResponse) => response.end(JSON.stringify(value));

test('the question is posted as input, and the result is the decision', async () => {
  const result = { allow: true, mode: 'and', limits: { uses_per_day: 7 }, reason: 'fine' };
  await withOpa(says({ result, decision_id: 'x' }), async ({ decide, asked }) => {
    assert.deepEqual(await decide(), {
      allow: true,
      mode: 'and',
      limits: { usesPerDay: 7 },
      reason: 'fine',
    });
    assert.deepEqual(asked, [['POST', '/v1/data/intaglio/decision', { input: question }]]);
  });
});

test('a decision, allowing or denying, is kept for five seconds and for its question alone', async () => {
  let allow = true;
  await withOpa(
    (response) => says({ result: { allow } })(response),
    async ({ decide, asked, pass }) => {
      assert.deepEqual(await decide(), { allow: true });
      allow = false;
      pass(4_999);
      assert.deepEqual(await decide(), { allow: true });
      assert.equal(asked.length, 1);
      assert.deepEqual(await decide({ ...question, operation: 'verify' }), { allow: false });
      pass(1);
      assert.deepEqual(await decide(), { allow: false });
      assert.equal(asked.length, 3);
    },
  );
});

test('calls that ask the same at the same time ask once', async () => {
  await withOpa(says({ result: { allow: true } }), async ({ decide, asked }) => {
    await Promise.all([decide(), decide(), decide()]);
    assert.equal(asked.length, 1);
  });
});

test('at most as many decisions are kept as there is room for', async () => {
  await withOpa(
    says({ result: { allow: true } }),
    async ({ decide, asked }) => {
      for (const kid of ['a', 'b', 'c', 'c']) await decide({ ...question, kid });
      assert.equal(asked.length, 3);
      await decide({ ...question, kid: 'a' });
      assert.equal(asked.length, 4);
    },
    { maxCached: 2 },
  );
});

const denials: readonly (readonly [string, (response: ServerResponse) => void, RegExp])[] = [
  ['no document', says({}), /another form/],
  ['an answer of another form', says({ result: true }), /another form/],
  ['an unknown mode', says({ result: { allow: true, mode: 'xor' } }), /another form/],
  ['an unknown limit', says({ result: { allow: true, limits: { per_hour: 1 } } }), /another form/],
  ['a text in the place of a truth value', says({ result: { allow: 'true' } }), /another form/],
  ['something that is not JSON', (response) => response.end('{'), /JSON/],
  ['an answer without an end', (response) => response.end('x'.repeat(100_000)), /more than/],
  ['status 500', (response) => response.writeHead(500).end('{"result":{"allow":true}}'), /status 500/],
  ['a redirection', (response) => response.writeHead(302, { location: '/x' }).end(), /./],
  ['a connection that breaks', (response) => response.destroy(), /./],
];

for (const [what, answer, cause] of denials)
  test(`${what} is a denial, which is told and not kept`, async () => {
    await withOpa(answer, async ({ decide, asked, failures }) => {
      assert.deepEqual(await decide(), { allow: false, reason: 'the policy service gave no decision' });
      await decide();
      assert.equal(asked.length, 2);
      assert.match(failures[0] ?? '', cause);
    });
  });

test('no answer in time is a denial', async () => {
  await withOpa(
    () => {
      // Never answers.
    },
    async ({ decide, failures }) => {
      assert.equal(((await decide()) as { allow: boolean }).allow, false);
      assert.deepEqual(failures, ['no answer in time']);
    },
    { timeoutMs: 20 },
  );
});

test('where nobody listens the answer is a denial', async () => {
  const decide: Parts['decide'][] = [];
  await withOpa(says({}), async (parts) => {
    decide.push(parts.decide);
  });
  for (const asked of decide)
    assert.deepEqual(await asked(), { allow: false, reason: 'the policy service gave no decision' });
});

test('questions under way are bounded', async () => {
  const waiting: ServerResponse[] = [];
  await withOpa(
    (response) => waiting.push(response),
    async ({ decide, failures }) => {
      const first = Array.from({ length: 256 }, (_, n) => decide({ ...question, kid: `k${n}` }));
      const beyond = await decide({ ...question, kid: 'one more' });
      assert.equal((beyond as { allow: boolean }).allow, false);
      assert.deepEqual(failures, ['256 questions are under way']);
      const answerAll = setInterval(() => {
        for (const response of waiting.splice(0)) says({ result: { allow: true } })(response);
      }, 5);
      for (const decision of await Promise.all(first)) assert.deepEqual(decision, { allow: true });
      clearInterval(answerAll);
    },
    { timeoutMs: 60_000 },
  );
});

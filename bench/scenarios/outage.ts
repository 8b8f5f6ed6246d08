import { setTimeout as delay } from 'node:timers/promises';
import { createTokenModule, noCompiler, type TokenFaults } from '../../test/support/token-module.ts';
import type { LoadRequest, LoadStream, Quantiles } from '../load/plan.ts';
import { figure, spread } from '../report/figures.ts';
import { type Context, scenario } from '../scenario.ts';
import { ask } from '../support/client.ts';
import { runLoad } from '../support/load.ts';
import { planOf } from '../support/measure.ts';
import { type Product, startProduct } from '../support/product.ts';
import { signRequests, type UsableKey } from '../support/requests.ts';
import { measuredOf } from '../support/statistics.ts';

interface Round {
  /** Of the key in software. */
  readonly ownMs: Quantiles;
  readonly ownStatuses: Readonly<Record<string, number>>;
  /** Of the key in the token: of its signatures, and of its refusals. */
  readonly tokenMs: Quantiles;
  readonly refusalMs: Quantiles;
  readonly statuses: Readonly<Record<string, number>>;
}

interface State {
  readonly name: string;
  readonly rounds: Round[];
}

/** Each a part of what one worker of the machine does. */
const ownPerSecond = 200;
const tokenPerSecond = 200;
/** More than are under way while an operation of the token runs into its two seconds. */
const connections = 1_024;

const states: readonly { readonly name: string; readonly faults: TokenFaults }[] = [
  { name: 'the token works', faults: {} },
  { name: 'it hangs for 10 s in each signature', faults: { hang: 'C_Sign:10000' } },
  { name: 'it is removed', faults: { removed: 1 } },
];

/** An operation that hangs takes 2 s, and the breaker opens: longer than both. */
const windowMs = 8_000;
const quickWindowMs = 3_000;

/** Promised: p95 of software meanwhile, in times of that of the same run while the token works. */
const mostTimes = 1.5;

export const outage = scenario<readonly State[]>({
  name: 'outage',
  question: 'What do keys of software notice when a token is away?',
  typicalSeconds: 120,
  async run(context) {
    if (noCompiler !== false) throw new Error(noCompiler);
    const token = createTokenModule();
    try {
      const product = await context.using(startProduct({ env: token.environment }));
      const own = await product.keyOf('outage', 'ed25519');
      const theirs = await tokenKey(product);
      const measured = states.map(({ name }): State => ({ name, rounds: [] }));
      context.steps(context.rounds * states.length);
      for (let round = 0; round < context.rounds; round++) {
        for (const [n, { name, faults }] of states.entries()) {
          context.step(name);
          token.set(faults);
          measured[n]?.rounds.push(await runRound(context, product, own, theirs));
          token.set({});
          await until(() => signs(product, theirs));
        }
      }
      return measured;
    } finally {
      token.remove();
    }
  },
  render(measured) {
    const p95 = ({ rounds }: State) => measuredOf(rounds, ({ ownMs }) => ownMs.p95);
    const [working, ...others] = measured as [State, ...State[]];
    const timesOf = (state: State) => p95(state).median / p95(working).median;
    return {
      answer: others.map(
        (state) =>
          `While ${state.name}, Ed25519 of software has a p95 of ${figure(p95(state).median)} ms, ${figure(timesOf(state))} times that while the token works (promised: at most ${mostTimes}): ${timesOf(state) <= mostTimes ? 'kept' : 'NOT KEPT'}.`,
      ),
      tables: [
        {
          title: `${ownPerSecond} signatures a second by a key of software beside ${tokenPerSecond} by one of the token`,
          columns: [
            'state',
            'software p50, ms',
            'software p95, ms',
            'answers of software',
            'times',
            'token p95, ms',
            'refusal p50, ms',
            'refusal p95, ms',
            'answers of the token',
          ],
          rows: measured.map((state) => [
            state.name,
            spread(measuredOf(state.rounds, ({ ownMs }) => ownMs.p50)),
            spread(p95(state)),
            answersOf(state.rounds.map(({ ownStatuses }) => ownStatuses)),
            figure(timesOf(state)),
            spread(measuredOf(state.rounds, ({ tokenMs }) => tokenMs.p95)),
            spread(measuredOf(state.rounds, ({ refusalMs }) => refusalMs.p50)),
            spread(measuredOf(state.rounds, ({ refusalMs }) => refusalMs.p95)),
            answersOf(state.rounds.map(({ statuses }) => statuses)),
          ]),
        },
      ],
      plots: [],
      notes: [
        'The token is the small one of test/support/token-module, whose faults are on demand; it signs Ed25519 in some 60 us by OpenSSL.',
        'An operation of a token has 2 s, and the first ones of an outage take them. Then the breaker is open, and answers are refusals at once; in the hang it closes and opens again each time that the module comes back.',
      ],
    };
  },
});

function answersOf(rounds: readonly Readonly<Record<string, number>>[]): string {
  const counts = new Map<string, number>();
  for (const statuses of rounds)
    for (const [status, count] of Object.entries(statuses))
      counts.set(status, (counts.get(status) ?? 0) + count);
  return [...counts].map(([status, count]) => `${status}: ${figure(count)}`).join(', ');
}

async function tokenKey(product: Product): Promise<UsableKey> {
  const token = product.tokenOf('outage');
  const body = JSON.stringify({ purpose: 'bench', alg: 'ed25519', policy: { backend: 'pkcs11' } });
  const { kid } = await ask<{ kid: string }>(product.port, {
    ...{ method: 'POST', path: '/v1/kms/keys', token, body },
  });
  return { kid, token };
}

async function runRound(
  context: Context,
  product: Product,
  own: UsableKey,
  theirs: UsableKey,
): Promise<Round> {
  const streams: readonly LoadStream[] = [
    { name: 'software', connections, ratePerSecond: ownPerSecond, requests: signRequests(own) },
    { name: 'token', connections, ratePerSecond: tokenPerSecond, requests: signRequests(theirs) },
  ];
  const timing = { warmUpMs: context.warmUpMs, windowMs: context.quick ? quickWindowMs : windowMs };
  const load = await runLoad({ ...planOf(timing, product, streams), niceness: 0 }, product.pid);
  const [software, token] = load.streams;
  if (software === undefined || token === undefined) throw new Error('a stream has no result');
  return {
    ...{ ownMs: software.latencyMs, ownStatuses: software.statuses },
    ...{ tokenMs: token.latencyMs, refusalMs: token.refusalMs, statuses: token.statuses },
  };
}

async function signs({ port }: Product, key: UsableKey): Promise<boolean> {
  try {
    await ask(port, signRequests(key)[0] as LoadRequest);
    return true;
  } catch {
    return false;
  }
}

/** A module that hangs comes back after 10 s, and the next try to open it is at most 5 s later. */
async function until(holds: () => Promise<boolean>): Promise<void> {
  for (let tries = 0; tries < 600; tries++) {
    if (await holds()) return;
    await delay(100);
  }
  throw new Error('the token does not come back');
}

import { figure, percent, spread } from '../report/figures.ts';
import { scenario } from '../scenario.ts';
import { closedLoop, type Figures, mustAllSucceed } from '../support/measure.ts';
import { startProduct } from '../support/product.ts';
import { signRequestsOf } from '../support/requests.ts';
import { measuredOf } from '../support/statistics.ts';

interface Step {
  readonly known: number;
  readonly active: number;
  readonly rounds: Figures[];
}

interface Data {
  readonly steps: readonly Step[];
}

const knownCounts = [2, 100, 10_000];
const mostActive = 100;

/** A scheduler that looks at every tenant it knows would show here. */
export const tenants = scenario<Data>({
  name: 'tenants',
  question: 'Does a request cost more where many tenants are known?',
  typicalSeconds: 45,
  async run(context) {
    const { rounds, step, steps } = context;
    steps(knownCounts.length * (1 + rounds));
    const prepared = [];
    for (const known of knownCounts) {
      step(`${known} tenants sign once`);
      const product = await context.using(startProduct({ name: `${known} tenants` }));
      const names = Array.from({ length: known }, (_, n) => `tenant-${n}`);
      const keys = await product.keysOf(names, 'ed25519');
      // The ones that were last heard of are not the ones that are active.
      const active = keys.slice(0, mostActive);
      prepared.push({ known, product, requests: signRequestsOf(active), active: active.length });
    }
    const found = prepared.map(({ known, active }) => ({ known, active, rounds: [] as Figures[] }));
    for (let round = 0; round < rounds; round++) {
      for (const [index, { known, product, requests }] of prepared.entries()) {
        step(`${known} known`);
        const figures = await closedLoop(context, product, requests);
        mustAllSucceed(figures, `${known} tenants`);
        found[index]?.rounds.push(figures);
      }
    }
    return { steps: found };
  },
  render({ steps }) {
    const cpuOf = ({ rounds }: Step) => measuredOf(rounds, ({ cpuUs }) => cpuUs);
    const hundred = steps.find(({ known }) => known === 100) as Step;
    const most = steps.at(-1) as Step;
    const more = cpuOf(most).median / cpuOf(hundred).median - 1;
    return {
      answer: [
        `With ${figure(most.known)} known tenants and ${most.active} active ones a request costs ${percent(Math.abs(more))} ${more < 0 ? 'less' : 'more'} server CPU than with ${hundred.known} known.`,
      ],
      tables: [
        {
          title: 'Ed25519 at saturation',
          columns: ['tenants known', 'active', 'requests/s', 'server CPU, us', 'p99, ms'],
          rows: steps.map((step) => [
            figure(step.known),
            String(step.active),
            spread(measuredOf(step.rounds, ({ okPerSecond }) => okPerSecond)),
            spread(cpuOf(step)),
            figure(measuredOf(step.rounds, ({ latencyMs }) => latencyMs.p99).median),
          ]),
        },
      ],
      plots: [],
      notes: [
        'Known: the tenant has a key of its own, and has signed with it over a capability of its own since the start.',
        `A server of its own for each row, all running at once and loaded in turn. ${closedLoopNote}`,
      ],
    };
  },
});

const closedLoopNote = 'Sixty-four connections; the requests of the active tenants come in turn.';

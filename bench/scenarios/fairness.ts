import { figure, percent, spread } from '../report/figures.ts';
import { scenario } from '../scenario.ts';
import { type FloodFigures, underFlood } from '../support/flood.ts';
import { closedLoop } from '../support/measure.ts';
import { servedAsInService, startProduct } from '../support/product.ts';
import { signRequests } from '../support/requests.ts';
import { measuredOf } from '../support/statistics.ts';

interface Level {
  /** Of the victim's load; 0: the victim alone. */
  readonly times: number;
  readonly rounds: FloodFigures[];
}

interface Case {
  readonly share: number;
  readonly victim: string;
  readonly aggressor: string;
  readonly normalPerSecond: number;
  readonly levels: readonly Level[];
}

interface Data {
  readonly cases: readonly Case[];
}

/**
 * The same algorithm, and the dearest one that there is. `share`: normal load, of what the server can do with the victim's
 * algorithm. Fifty tenants of a fiftieth fill the server, and a hundred times that is twice what it can do; a tenth is
 * a tenant so large that ten times as much is a flood.
 */
const pairs = [
  { share: 0.02, victim: 'ml-dsa-65', aggressor: 'ml-dsa-65' },
  { share: 0.02, victim: 'ml-dsa-65', aggressor: 'rsa-4096' },
  { share: 0.02, victim: 'ed25519', aggressor: 'ed25519' },
  { share: 0.02, victim: 'ed25519', aggressor: 'rsa-4096' },
  { share: 0.1, victim: 'ml-dsa-65', aggressor: 'ml-dsa-65' },
  { share: 0.1, victim: 'ed25519', aggressor: 'ed25519' },
] as const;
const times = [0, 1, 10, 100];

export const fairness = scenario<Data>({
  name: 'fairness',
  question: "What becomes of one tenant's latency when another tenant floods the server?",
  typicalSeconds: 270,
  async run(context) {
    const { rounds, step, steps } = context;
    steps(pairs.length * (1 + rounds * times.length));
    const product = await context.using(startProduct({ env: servedAsInService }));
    const cases: Case[] = [];
    for (const { share, victim, aggressor } of pairs) {
      const own = signRequests(await product.keyOf('victim', victim));
      const flood = signRequests(await product.keyOf('aggressor', aggressor));
      step(`${victim}: saturation`);
      const normalPerSecond = share * (await closedLoop(context, product, own)).okPerSecond;
      const levels = times.map((factor) => ({ times: factor, rounds: [] as FloodFigures[] }));
      for (let round = 0; round < rounds; round++) {
        for (const level of levels) {
          step(`${victim} beside ${level.times} times as much ${aggressor}`);
          level.rounds.push(
            await underFlood(
              context,
              product,
              { requests: own, ratePerSecond: normalPerSecond },
              level.times === 0
                ? undefined
                : { requests: flood, ratePerSecond: level.times * normalPerSecond },
            ),
          );
        }
      }
      cases.push({ share, victim, aggressor, normalPerSecond, levels });
    }
    return { cases };
  },
  render({ cases }) {
    return {
      answer: cases.flatMap(({ share, victim, aggressor, levels }) =>
        levels
          .filter(({ times }) => times >= 10)
          .map((level) => {
            const ratio = p95Of(level).median / p95Of(levels[0] as Level).median;
            return `${victim} at ${percent(share)} of saturation beside ${level.times} times as much ${aggressor}: p95 is ${figure(ratio)} times that of the victim alone.`;
          }),
      ),
      tables: cases.map(({ share, victim, aggressor, normalPerSecond, levels }) => ({
        title: `${victim}, ${figure(normalPerSecond)} requests a second (${percent(share)} of saturation), beside ${aggressor}`,
        columns: [
          'aggressor',
          'sent/s',
          'its answers/s',
          'its refusals/s',
          'victim answered',
          'victim p50, ms',
          'victim p95, ms',
          'times alone',
          'victim p99, ms',
        ],
        rows: levels.map((level) => {
          const { times, rounds } = level;
          const aggressors = rounds.flatMap((round) =>
            round.aggressor === undefined ? [] : [round.aggressor],
          );
          const of = (member: 'offeredPerSecond' | 'okPerSecond' | 'refusedPerSecond') =>
            aggressors.length === 0
              ? '-'
              : figure(measuredOf(aggressors, (figures) => figures[member]).median);
          return [
            times === 0 ? 'none' : `${times} times`,
            of('offeredPerSecond'),
            of('okPerSecond'),
            of('refusedPerSecond'),
            percent(
              measuredOf(
                rounds,
                ({ victim: { okPerSecond, refusedPerSecond } }) =>
                  okPerSecond / (okPerSecond + refusedPerSecond),
              ).median,
            ),
            figure(measuredOf(rounds, ({ victim }) => victim.latencyMs.p50).median),
            spread(p95Of(level)),
            figure(p95Of(level).median / p95Of(levels[0] as Level).median),
            spread(measuredOf(rounds, ({ victim }) => victim.latencyMs.p99)),
          ];
        }),
      })),
      plots: [
        {
          kind: 'lines',
          title: "The victim's p95 beside a flood",
          x: { label: "the aggressor's load, in times of the victim's", scale: 'log' },
          y: { label: "victim's p95, times that of the victim alone", scale: 'log' },
          series: cases.map(({ share, victim, aggressor, levels }) => ({
            name: `${victim} at ${percent(share)} beside ${aggressor}`,
            points: levels
              .filter(({ times }) => times > 0)
              .map((level) => {
                const alone = p95Of(levels[0] as Level).median;
                const { median, min, max } = p95Of(level);
                return { x: level.times, y: median / alone, low: min / alone, high: max / alone };
              }),
          })),
          limits: [{ name: 'twice', y: 2 }],
        },
      ],
      notes: [
        'Normal load is a fiftieth of what the server can do with the victim’s algorithm, of which a hundred times is twice what it can do; and, as a harder case, a tenth, of which ten times is all.',
        'Beside others, a tenant over its share is put off and refused late: its connections then wait, so that “sent/s” is less than the times say.',
        'Victim and aggressor have a generator each. The aggressor’s runs at the least favoured priority: on one machine it would otherwise take processor time from the victim’s generator, which no server could give back. “sent/s” is what it reached; where that is less than the times say, the machine had no more.',
        'A job that has begun is not interrupted: beside RSA-4096 the victim may wait for the one or two signatures that a worker has in hand, over a millisecond each, however fair the queue.',
      ],
    };
  },
});

function p95Of({ rounds }: Level) {
  return measuredOf(rounds, ({ victim }) => victim.latencyMs.p95);
}

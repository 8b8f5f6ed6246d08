import type { KeyTypeName } from '../../src/algorithms/ids.ts';
import { registry } from '../../src/algorithms/registry.ts';
import { figure, spread } from '../report/figures.ts';
import { scenario } from '../scenario.ts';
import { type OperationTimes, timeEngine } from '../support/engine.ts';
import { type Measured, measuredOf } from '../support/statistics.ts';

type Rounds = Record<string, Partial<Record<KeyTypeName, OperationTimes>>[]>;

interface Data {
  /** By engine, then by round. */
  readonly rounds: Rounds;
}

/** A hybrid key is two of these. */
const names = registry
  .filter(({ kind, components }) => kind === 'signature' && components.length === 1)
  .map(({ name }) => name as KeyTypeName);
const engines = ['native', 'openssl'] as const;

function timesOf(rounds: Rounds, engine: string, name: KeyTypeName, operation: keyof OperationTimes) {
  return measuredOf(rounds[engine] ?? [], (round) => (round[name] as OperationTimes)[operation]);
}

export const engine = scenario<Data>({
  name: 'engine',
  question: 'What does one signature or verification cost in each engine, with nothing around it?',
  typicalSeconds: 27,
  async run({ rounds, windowMs, steps, step }) {
    steps(rounds * engines.length);
    const found: Rounds = {};
    for (let round = 0; round < rounds; round++) {
      for (const name of engines) {
        step(`${name}, round ${round + 1}`);
        const timed = await timeEngine({ engine: name, keyTypes: names, windowMs: windowMs / 8 });
        if (timed === undefined) continue;
        found[name] ??= [];
        found[name].push(timed.times);
      }
    }
    return { rounds: found };
  },
  render({ rounds }) {
    const present = engines.filter((name) => rounds[name] !== undefined);
    const row = (name: KeyTypeName): string[] => [
      name,
      ...(['signUs', 'verifyUs'] as const).flatMap((operation) => {
        const times: Measured[] = present.map((of) => timesOf(rounds, of, name, operation));
        const [native, openssl] = times;
        const ratio =
          native === undefined || openssl === undefined ? '-' : figure(openssl.median / native.median);
        return [...times.map(spread), ratio];
      }),
    ];
    const columns = ['sign', 'verify'].flatMap((operation) => [
      ...present.map((name) => `${operation}, ${name}, us`),
      'times',
    ]);
    return {
      answer: present.map((name) => {
        const [ed25519, mlDsa44, mlDsa65] = (['ed25519', 'ml-dsa-44', 'ml-dsa-65'] as const).map((key) =>
          figure(timesOf(rounds, name, key, 'signUs').median),
        );
        return `${name}: an Ed25519 signature takes ${ed25519} us of one core, an ML-DSA-44 signature ${mlDsa44} us, an ML-DSA-65 signature ${mlDsa65} us.`;
      }),
      tables: [
        {
          title: 'Microseconds of one core, in batches of 16 (RSA: one by one)',
          columns: ['algorithm', ...columns],
          rows: names.map(row),
        },
      ],
      plots: [
        {
          kind: 'bars',
          title: 'CPU for one signature',
          label: 'microseconds, less is better',
          bars: (['ed25519', 'ecdsa-p256', 'ml-dsa-44', 'ml-dsa-65', 'rsa-2048'] as const).flatMap((key) =>
            present.map((name) => {
              const { median, min, max } = timesOf(rounds, name, key, 'signUs');
              return { name: `${key}, ${name}`, value: median, low: min, high: max };
            }),
          ),
        },
      ],
      notes: [
        'One thread in a loop over the same key: the limit for a server around it, not what a caller sees.',
        'Each round is a new process and a new key; its figure is the median of samples of a millisecond.',
      ],
    };
  },
});

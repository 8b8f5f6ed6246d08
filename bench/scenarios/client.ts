import { Pool } from 'undici';
import { KmsClient } from '../../src/client/index.ts';
import { figure, spread } from '../report/figures.ts';
import { scenario } from '../scenario.ts';
import { startProduct } from '../support/product.ts';
import { firstPayload } from '../support/requests.ts';
import { measured, measuredOf } from '../support/statistics.ts';

const callers = 32;
const connections = 16;
/** More rounds than elsewhere: the ways differ by microseconds. */
const timesRounds = 3;

interface Round {
  readonly perSecond: number;
  /** Of this process, for one signature. */
  readonly cpuUs: number;
}

interface Data {
  readonly ways: readonly { readonly name: string; readonly rounds: readonly Round[] }[];
}

async function loop(sign: () => Promise<unknown>, windowMs: number): Promise<Round> {
  let done = 0;
  const startedMs = performance.now();
  const before = process.cpuUsage();
  const caller = async () => {
    while (performance.now() - startedMs < windowMs) {
      await sign();
      done++;
    }
  };
  await Promise.all(Array.from({ length: callers }, caller));
  const { user, system } = process.cpuUsage(before);
  return { perSecond: (done / (performance.now() - startedMs)) * 1_000, cpuUs: (user + system) / done };
}

export const client = scenario<Data>({
  name: 'client',
  question: 'What does the client cost beside undici alone, with and without gathering?',
  typicalSeconds: 45,
  async run(context) {
    const product = await context.using(startProduct());
    const { kid, token } = await product.keyOf('clients', 'ed25519');
    const url = `http://127.0.0.1:${product.port}`;
    const pool = new Pool(url, { connections });
    const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' };
    const body = JSON.stringify({ kid, payload_b3: firstPayload });
    const plain = new KmsClient({ url, token, connections });
    const gathering = new KmsClient({ url, token, connections, gatherMs: 1 });
    const ways = [
      {
        name: 'undici',
        async sign() {
          const answer = await pool.request({ path: '/v1/kms/sign', method: 'POST', headers, body });
          if (answer.statusCode !== 200) throw new Error(`status ${answer.statusCode}`);
          return answer.body.json();
        },
      },
      { name: 'client', sign: () => plain.sign({ kid, payloadB3: firstPayload }) },
      { name: 'client, gathering for 1 ms', sign: () => gathering.sign({ kid, payloadB3: firstPayload }) },
    ].map((way) => ({ ...way, done: [] as Round[] }));
    const rounds = context.quick ? context.rounds : context.rounds * timesRounds;
    context.steps(ways.length * (rounds + 1));
    try {
      for (const { name, sign } of ways) {
        context.step(`${name}: warm up`);
        await loop(sign, context.warmUpMs);
      }
      for (let round = 0; round < rounds; round++) {
        for (const { name, sign, done } of ways) {
          context.step(name);
          done.push(await loop(sign, context.windowMs));
        }
      }
    } finally {
      await Promise.all([pool.destroy(), plain.close(), gathering.close()]);
    }
    return { ways: ways.map(({ name, done }) => ({ name, rounds: done })) };
  },
  render({ ways }) {
    const cpuOf = (rounds: readonly Round[]) => measuredOf(rounds, ({ cpuUs }) => cpuUs);
    const alone = ways[0]?.rounds as readonly Round[];
    const besideOf = (rounds: readonly Round[]) =>
      measured(rounds.map(({ cpuUs }, n) => cpuUs / (alone[n] as Round).cpuUs));
    const [raw, own, gathered] = ways.map(({ rounds }) => cpuOf(rounds).median) as [number, number, number];
    return {
      answer: [
        `A signature costs the caller ${figure(own)} us of CPU with the client and ${figure(raw)} us with undici alone; gathered ${figure(gathered)} us.`,
      ],
      tables: [
        {
          title: `Ed25519, ${callers} callers, ${connections} connections`,
          columns: [
            'way',
            'signatures/s',
            'CPU of the caller a signature, us',
            'beside undici in the same round',
          ],
          rows: ways.map(({ name, rounds }) => [
            name,
            spread(measuredOf(rounds, ({ perSecond }) => perSecond)),
            spread(cpuOf(rounds)),
            spread(besideOf(rounds)),
          ]),
        },
      ],
      plots: [],
      notes: [
        'Each caller waits for its answer before it asks again. CPU is that of the process of the callers.',
        `Medians of ${alone.length} interleaved rounds, and least to most. Work of others on the machine makes each round slower: the ratio is taken within one.`,
      ],
    };
  },
});

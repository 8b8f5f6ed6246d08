/**
 * Two checkouts of this project beside each other, in one run: CPU of the server for each signature, at saturation and
 * at a third of it. Rounds alternate, so that a slow minute of the machine is in both.
 *
 *     npm exec -- node bench/against.ts ../other-checkout [rounds]
 */
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import type { LoadRequest } from './load/plan.ts';
import { closedLoop, type Figures, openLoop } from './support/measure.ts';
import { type Product, startProduct } from './support/product.ts';
import { signRequests } from './support/requests.ts';
import { measuredOf } from './support/statistics.ts';

const { positionals } = parseArgs({ allowPositionals: true });
const [otherCheckout, roundsText = '10'] = positionals;
const rounds = Number(roundsText);
if (otherCheckout === undefined || !Number.isInteger(rounds) || rounds < 1) {
  process.stderr.write('usage: npm exec -- node bench/against.ts CHECKOUT [ROUNDS]\n');
  process.exit(2);
}

const timing = { warmUpMs: 500, windowMs: 2_000 };
const algorithms = ['ed25519', 'ml-dsa-65'] as const;

interface Side {
  readonly name: string;
  readonly product: Product;
  readonly requests: Map<string, readonly LoadRequest[]>;
}

async function startSide(name: string, start: typeof startProduct): Promise<Side> {
  const product = await start();
  const requests = new Map<string, readonly LoadRequest[]>();
  for (const alg of algorithms) requests.set(alg, signRequests(await product.signer(alg)));
  return { name, product, requests };
}

const other = pathToFileURL(resolve(otherCheckout, 'bench/support/product.ts')).href;
const { startProduct: startOther } = (await import(other)) as { startProduct: typeof startProduct };
const sides = [await startSide('other', startOther), await startSide('this', startProduct)];

async function compare(
  what: string,
  measure: (side: Side) => Promise<Figures>,
): Promise<Map<string, Figures[]>> {
  const figures = new Map<string, Figures[]>(sides.map(({ name }) => [name, []]));
  for (let round = 0; round < rounds; round++) {
    // The side that comes second finds a warmer machine, so sides take turns.
    const order = round % 2 === 0 ? sides : sides.toReversed();
    for (const side of order) figures.get(side.name)?.push(await measure(side));
    process.stderr.write(`\r${what}: round ${round + 1} of ${rounds} `);
  }
  process.stderr.write('\n');
  for (const { name } of sides) {
    const of = (pick: (figure: Figures) => number) => {
      const { median, min, max } = measuredOf(figures.get(name) as Figures[], pick);
      return `${median.toFixed(2)} (${min.toFixed(2)} to ${max.toFixed(2)})`;
    };
    process.stdout.write(
      `${what}, ${name}: CPU ${of(({ cpuUs }) => cpuUs)} us, HTTP thread ${of(({ mainThreadUs }) => mainThreadUs)} us, ` +
        `${of(({ okPerSecond }) => okPerSecond)}/s, p95 ${of(({ latencyMs }) => latencyMs.p95)} ms\n`,
    );
  }
  return figures;
}

for (const alg of algorithms) {
  const requestsOf = ({ requests }: Side) => requests.get(alg) as readonly LoadRequest[];
  const full = await compare(`${alg} at saturation`, (side) =>
    closedLoop(timing, side.product, requestsOf(side)),
  );
  const third = Math.round(
    measuredOf([...full.values()].flat(), ({ okPerSecond }) => okPerSecond).median / 3,
  );
  await compare(`${alg} at ${third}/s`, (side) => openLoop(timing, side.product, requestsOf(side), third));
}
for (const { product } of sides) await product.stop();

import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { figure } from '../report/figures.ts';
import { type Context, scenario } from '../scenario.ts';
import { memoryOf } from '../support/cpu.ts';
import { type Product, startProduct } from '../support/product.ts';

interface Point {
  readonly count: number;
  readonly residentBytes: number;
  readonly anonymousBytes: number;
  readonly lockedBytes: number;
  readonly diskBytes: number;
}

interface Data {
  /** Keys of one tenant, each of which has signed once. */
  readonly keys: readonly Point[];
  /** Tenants with one key each, which has signed once. */
  readonly tenants: readonly Point[];
}

/** A hundred thousand keys take a minute to make and more than the key cache (65,536) holds. */
const keyCounts = [0, 10_000, 50_000, 100_000];
const quickKeyCounts = [0, 1_000, 4_000];
const tenantCounts = [0, 1_000, 10_000];
const quickTenantCounts = [0, 500, 2_000];

export const memory = scenario<Data>({
  name: 'memory',
  question: 'How much memory and disk does a key take, and how much a tenant?',
  typicalSeconds: 85,
  async run(context) {
    const keys = context.quick ? quickKeyCounts : keyCounts;
    const tenants = context.quick ? quickTenantCounts : tenantCounts;
    context.steps(keys.length + tenants.length);
    return {
      keys: await grow(context, 'keys', keys, () => 'holder'),
      tenants: await grow(context, 'tenants', tenants, (n) => `tenant-${n}`),
    };
  },
  render({ keys, tenants }) {
    const perKey = slope(keys);
    const perTenant = slope(tenants);
    const most = keys.at(-1) as Point;
    const rows = (points: readonly Point[]) =>
      points.map(({ count, residentBytes, anonymousBytes, lockedBytes, diskBytes }) => [
        count.toLocaleString('en-US'),
        mebibytes(residentBytes),
        mebibytes(anonymousBytes),
        mebibytes(lockedBytes),
        mebibytes(diskBytes),
      ]);
    const columns = ['count', 'resident, MiB', 'of it not files, MiB', 'locked, MiB', 'on disk, MiB'];
    return {
      answer: [
        `An Ed25519 key takes ${figure(perKey.anonymousBytes / 1024)} KiB of memory and ${figure(perKey.diskBytes / 1024)} KiB on disk; with ${most.count.toLocaleString('en-US')} keys the service has ${mebibytes(most.residentBytes)} MiB resident.`,
        `A tenant with one key and one capability in use takes ${figure(perTenant.anonymousBytes / 1024)} KiB of memory.`,
      ],
      tables: [
        { title: 'Keys of one tenant, each has signed once', columns, rows: rows(keys) },
        { title: 'Tenants, each with one key that has signed once', columns, rows: rows(tenants) },
      ],
      plots: [
        {
          kind: 'lines',
          title: 'Memory against keys and tenants',
          x: { label: 'keys, or tenants', scale: 'linear' },
          y: { label: 'MiB that are not files', scale: 'linear' },
          series: [
            { name: 'keys', points: pointsOf(keys) },
            { name: 'tenants', points: pointsOf(tenants) },
          ],
        },
      ],
      notes: [
        'Anonymous memory of the process (heap and buffers) two seconds after the last request; nothing forces the collector to run, so that it includes garbage that was not yet collected. Figures of one key are the slope between the first and the last row.',
        'The caches of keys and capabilities are bounded (65,536 and 16,384): beyond them the slope becomes flatter.',
        'Mapped pages of the store count as resident and can be dropped at any time.',
      ],
    };
  },
});

async function grow(
  context: Context,
  what: string,
  counts: readonly number[],
  tenantOf: (n: number) => string,
): Promise<Point[]> {
  const product = await context.using(startProduct({ name: what }));
  const points: Point[] = [];
  let made = 0;
  for (const count of counts) {
    context.step(`${count.toLocaleString('en-US')} ${what}`);
    const names = Array.from({ length: count - made }, (_, n) => tenantOf(made + n));
    await product.keysOf(names, 'ed25519');
    made = count;
    await sleep(settlingMs);
    points.push({ count, ...memoryOf(product.pid), diskBytes: diskBytesOf(product) });
  }
  return points;
}

const settlingMs = 2_000;

function diskBytesOf({ dataDir }: Product): number {
  return readdirSync(dataDir, { recursive: true, encoding: 'utf8' })
    .map((name) => statSync(join(dataDir, name)))
    .filter((entry) => entry.isFile())
    .reduce((sum, { blocks }) => sum + blocks * 512, 0);
}

function slope(points: readonly Point[]): { anonymousBytes: number; diskBytes: number } {
  const [first, last] = [points[0] as Point, points.at(-1) as Point];
  const count = last.count - first.count;
  return {
    anonymousBytes: (last.anonymousBytes - first.anonymousBytes) / count,
    diskBytes: (last.diskBytes - first.diskBytes) / count,
  };
}

function pointsOf(points: readonly Point[]) {
  return points.map(({ count, anonymousBytes }) => ({ x: count, y: anonymousBytes / 2 ** 20 }));
}

function mebibytes(bytes: number): string {
  return figure(bytes / 2 ** 20);
}

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { certificateFiles, testPki } from '../../test/support/listener-kinds.ts';
import type { StreamResult, Via } from '../load/plan.ts';
import { figure, percent, spread } from '../report/figures.ts';
import { scenario } from '../scenario.ts';
import { nodeGenerator } from '../support/generator.ts';
import { runLoad } from '../support/load.ts';
import {
  closedLoopConnections,
  type Figures,
  figuresOf,
  mustAllSucceed,
  planOf,
} from '../support/measure.ts';
import { type Product, startProduct } from '../support/product.ts';
import { signRequests } from '../support/requests.ts';
import { measuredOf } from '../support/statistics.ts';

interface Way {
  readonly name: string;
  readonly port: number;
  readonly via: Via | undefined;
}

interface Data {
  readonly listeners: readonly { readonly name: string; readonly rounds: readonly Figures[] }[];
}

const { authority, client } = testPki;
const names = ['plain TCP', 'TLS 1.3', 'mutual TLS 1.3', 'Unix socket'] as const;

export const listeners = scenario<Data>({
  name: 'listeners',
  question:
    'How many Ed25519 signatures a second does each listener carry, and what does each cost the server?',
  typicalSeconds: 35,
  async run(context) {
    const { rounds, step, steps } = context;
    steps(names.length * rounds);
    const directory = mkdtempSync(join(tmpdir(), 'intaglio-bench-'));
    try {
      const product = await context.using(startWithAll(directory));
      const requests = signRequests(await product.signer('ed25519'));
      const ways = waysOf(product, join(directory, 'kms.sock'));
      const measured = ways.map((way) => ({ ...way, rounds: [] as Figures[] }));
      for (let round = 0; round < rounds; round++) {
        for (const { name, port, via, rounds: figures } of measured) {
          step(name);
          const stream = { name, connections: closedLoopConnections, ratePerSecond: 0, requests };
          const plan = {
            ...planOf(context, { ...product, port }, [stream]),
            ...(via === undefined ? {} : { via }),
          };
          // One generator for all of them: that in Rust knows only TCP.
          const load = await runLoad(plan, product.pid, nodeGenerator);
          const found = figuresOf(load, load.streams[0] as StreamResult);
          mustAllSucceed(found, name);
          figures.push(found);
        }
      }
      return { listeners: measured.map(({ name, rounds: figures }) => ({ name, rounds: figures })) };
    } finally {
      rmSync(directory, { recursive: true });
    }
  },
  render({ listeners: measured }) {
    return {
      answer: measured.map(({ name, rounds }) => {
        const rate = measuredOf(rounds, ({ okPerSecond }) => okPerSecond).median;
        const cpuUs = measuredOf(rounds, (figures) => figures.cpuUs).median;
        return `${name}: ${figure(rate)} signatures a second, ${figure(cpuUs)} us of server CPU each.`;
      }),
      tables: [
        {
          title: 'Ed25519 signatures, closed loop on connections that stay open',
          columns: [
            ...['listener', 'signatures/s', 'server CPU, us', 'of it HTTP thread'],
            ...['p50, ms', 'p99, ms', 'generator of one core'],
          ],
          rows: measured.map(({ name, rounds }) => [
            name,
            spread(measuredOf(rounds, ({ okPerSecond }) => okPerSecond)),
            spread(measuredOf(rounds, ({ cpuUs }) => cpuUs)),
            figure(measuredOf(rounds, ({ mainThreadUs }) => mainThreadUs).median),
            figure(measuredOf(rounds, ({ latencyMs }) => latencyMs.p50).median),
            figure(measuredOf(rounds, ({ latencyMs }) => latencyMs.p99).median),
            percent(measuredOf(rounds, ({ generatorCpuShare }) => generatorCpuShare).median),
          ]),
        },
      ],
      plots: [],
      notes: [
        `All listeners of one process, measured in turn with ${closedLoopConnections} connections. The generator in Node, which does the client's TLS, shares the processors with the server: rates of TLS are lower bounds, CPU of the server is not touched by that.`,
        'Handshakes fall before the counted part. Keys of the certificates are ECDSA P-256.',
      ],
    };
  },
});

function startWithAll(directory: string): Promise<Product> {
  const files = certificateFiles(testPki, directory);
  const encrypted = 'https://127.0.0.1:0,https://127.0.0.1:0?client=require';
  return startProduct({
    env: {
      KMS_LISTEN: `http://127.0.0.1:0,${encrypted},unix:${join(directory, 'kms.sock')}`,
      // Nobody is refused, however long the generator keeps the processors from the server.
      KMS_DEFAULT_DEADLINE_MS: '2000',
      KMS_TLS_CERT_FILE: files.certFile,
      KMS_TLS_KEY_FILE: files.keyFile,
      KMS_TLS_CLIENT_CA_FILE: files.clientCaFile,
    },
  });
}

/** In the order of `names`. */
function waysOf({ port, service }: Product, path: string): readonly Way[] {
  const line = service.log.find((text) => text.includes('"listening"')) ?? '{}';
  const [tls = '', mutual = ''] = (JSON.parse(line) as { others: string[] }).others;
  const vias: readonly [number, Via | undefined][] = [
    [port, undefined],
    [Number(new URL(tls).port), { ca: authority.cert }],
    [Number(new URL(mutual).port), { ca: authority.cert, cert: client.cert, key: client.key }],
    [port, { path }],
  ];
  return vias.map(([taken, via], n) => ({ name: names[n] as string, port: taken, via }));
}

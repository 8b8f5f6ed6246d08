import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { temporaryDirectory } from '../../test/support/service.ts';
import { figure, spread } from '../report/figures.ts';
import { scenario } from '../scenario.ts';
import { memoryOf } from '../support/cpu.ts';
import { startProduct } from '../support/product.ts';
import { measuredOf } from '../support/statistics.ts';

interface Start {
  /** From the start of the process to the line that says it listens. */
  readonly listeningMs: number;
  /** To the end of a new key and its first signature over HTTP; absent for npm start. */
  readonly firstSignatureMs?: number;
  readonly residentMiB?: number;
}

interface Data {
  readonly starts: Readonly<Record<StartKind, readonly Start[]>>;
}

const kinds = {
  first: 'first start: makes root key, capability, store',
  again: 'again, on the same data',
  npm: 'again, with npm start and its checks of the set-up',
} as const;
type StartKind = keyof typeof kinds;

export const coldStart = scenario<Data>({
  name: 'cold-start',
  question: 'How long until a new process signs?',
  typicalSeconds: 20,
  async run({ rounds, steps, step }) {
    const repeats = rounds * 2 - 1;
    steps(repeats * 3);
    const starts: Record<StartKind, Start[]> = { first: [], again: [], npm: [] };
    for (let round = 0; round < repeats; round++) {
      const dataDir = temporaryDirectory();
      for (const kind of ['first', 'again'] as const) {
        step(kinds[kind]);
        starts[kind].push(await startOnce(dataDir));
      }
      step(kinds.npm);
      starts.npm.push(await startWithNpm(dataDir));
    }
    return { starts };
  },
  render({ starts }) {
    const listening = (kind: StartKind) => measuredOf(starts[kind], ({ listeningMs }) => listeningMs);
    const optional = (kind: StartKind, member: 'firstSignatureMs' | 'residentMiB') => {
      const having = starts[kind].filter((start) => start[member] !== undefined);
      return having.length === 0 ? '-' : spread(measuredOf(having, (start) => start[member] as number));
    };
    return {
      answer: [
        `A first start listens after ${figure(listening('first').median)} ms, a later one after ${figure(listening('again').median)} ms, npm start after ${figure(listening('npm').median)} ms.`,
      ],
      tables: [
        {
          title: 'Milliseconds from the start of the process',
          columns: ['start', 'listens', 'has made a key and signed', 'resident then, MiB'],
          rows: (Object.keys(kinds) as StartKind[]).map((kind) => [
            kinds[kind],
            spread(listening(kind)),
            optional(kind, 'firstSignatureMs'),
            optional(kind, 'residentMiB'),
          ]),
        },
      ],
      plots: [],
      notes: [
        'Files are in the system’s cache, as after a restart of the service and not as after one of the machine.',
        'npm start runs npm and the checks of the set-up, with nothing to install, before the service.',
      ],
    };
  },
});

async function startOnce(dataDir: string): Promise<Start> {
  const beganMs = performance.now();
  const product = await startProduct({ dataDir });
  const listeningMs = performance.now() - beganMs;
  await product.keyOf('first', 'ed25519');
  const firstSignatureMs = performance.now() - beganMs;
  const residentMiB = memoryOf(product.pid).residentBytes / 2 ** 20;
  await product.stop();
  return { listeningMs, firstSignatureMs, residentMiB };
}

async function startWithNpm(dataDir: string): Promise<Start> {
  const beganMs = performance.now();
  const npm = spawn('npm', ['start', '--silent'], {
    cwd: fileURLToPath(new URL('../../', import.meta.url)),
    env: { ...process.env, KMS_BIND: '127.0.0.1:0', KMS_DATA_DIR: dataDir },
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  const gone = once(npm, 'exit');
  const listening = new Promise<number>((resolve, reject) => {
    createInterface(npm.stdout).on('line', (line) => {
      if (!line.startsWith('{')) return;
      const { msg, pid } = JSON.parse(line) as { msg?: string; pid?: number };
      if (msg === 'listening' && pid !== undefined) resolve(pid);
    });
    void gone.then(() => reject(new Error('npm start ended before it listened')));
  });
  const servicePid = await listening;
  const listeningMs = performance.now() - beganMs;
  // The service itself: npm hands signals on only from a terminal.
  process.kill(servicePid, 'SIGTERM');
  await gone;
  return { listeningMs };
}

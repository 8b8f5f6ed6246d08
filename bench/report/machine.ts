import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { availableParallelism, cpus, loadavg, release, totalmem, type } from 'node:os';
import { fileURLToPath } from 'node:url';
import { describeEngine } from '../support/engine.ts';
import type { Generator } from '../support/generator.ts';

/** The machine of the measurement: without it figures mean nothing. */
export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGiB: number;
  readonly system: string;
  readonly kernel: string;
  readonly node: string;
  readonly openssl: string;
  readonly v8: string;
  /** The engine that the product chooses here, and its libraries. */
  readonly engine: string;
  readonly libraries: Readonly<Record<string, string>>;
  /** The sender of the requests; figures of different ones are not to be compared. */
  readonly generator: Generator['name'];
  /** Processes that wanted a processor in the minute before: near 0 on a quiet machine. */
  readonly loadBefore: number;
}

export interface Commit {
  readonly id: string;
  /** True if the program differed from that commit. */
  readonly changed: boolean;
}

const root = fileURLToPath(new URL('../../', import.meta.url));

export async function describeMachine(generator: Generator): Promise<Machine> {
  const loadBefore = loadavg()[0] as number;
  const { name, libraries } = await describeEngine();
  return {
    cpu: cpuModel(),
    cores: availableParallelism(),
    memoryGiB: Math.round((totalmem() / 2 ** 30) * 10) / 10,
    system: systemName(),
    kernel: `${type()} ${release()}`,
    node: process.version,
    openssl: process.versions.openssl,
    v8: process.versions.v8,
    engine: name,
    libraries,
    generator: generator.name,
    loadBefore,
  };
}

function cpuModel(): string {
  const model = cpus()[0]?.model ?? 'unknown';
  const flags = /^flags\s*:(.*)$/m.exec(readOr('/proc/cpuinfo', ''))?.[1]?.split(' ') ?? [];
  // The two libraries choose their code by these.
  const wide = ['avx2', 'avx512f', 'avx512ifma', 'sha_ni'].filter((flag) => flags.includes(flag));
  return wide.length === 0 ? model : `${model} (${wide.join(', ')})`;
}

function systemName(): string {
  return /^PRETTY_NAME="?([^"\n]*)/m.exec(readOr('/etc/os-release', ''))?.[1] ?? process.platform;
}

function readOr(path: string, otherwise: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return otherwise;
  }
}

export function describeCommit(): Commit {
  try {
    const git = (...args: string[]) => execFileSync('git', args, { cwd: root, encoding: 'utf8' }).trim();
    const program = ['src', 'workers', 'native', 'package-lock.json'];
    return {
      id: git('rev-parse', '--short=12', 'HEAD'),
      changed: git('status', '--porcelain', '--', ...program) !== '',
    };
  } catch {
    return { id: 'unknown', changed: true };
  }
}

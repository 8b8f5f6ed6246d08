import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** A program that reads a LoadPlan from standard input and prints a LoadResult. */
export interface Generator {
  /** `native`: bench/load/native, in Rust. `node`: bench/load/generator.ts, where that cannot be built. */
  readonly name: 'native' | 'node';
  readonly command: string;
  readonly args: readonly string[];
}

export const nodeGenerator: Generator = {
  name: 'node',
  command: process.execPath,
  args: [fileURLToPath(new URL('../load/generator.ts', import.meta.url))],
};

const crate = fileURLToPath(new URL('../load/native/', import.meta.url));
const target = join(crate, 'target');

export const nativeGenerator: Generator = {
  name: 'native',
  command: join(target, 'release', 'intaglio-load'),
  args: [],
};

/** The reason why the native generator cannot be used as it is, without building anything; undefined when it can. */
export function nativeGeneratorProblem(): string | undefined {
  if (!existsSync(nativeGenerator.command))
    return 'the native generator is not built; npm run bench builds it';
  const builtAt = statSync(nativeGenerator.command).mtimeMs;
  const sources = readdirSync(join(crate, 'src'));
  const changed = sources.some((name) => statSync(join(crate, 'src', name)).mtimeMs > builtAt);
  return changed ? 'the native generator is older than its sources; npm run bench builds it' : undefined;
}

const choices = ['auto', 'native', 'node'] as const;

/**
 * Builds the native generator where that is due (cargo decides) and gives it, or the other one where it cannot be had,
 * and says why on standard error. INTAGLIO_GENERATOR=node|native decides instead; throws when the native one is
 * demanded and cannot be had.
 */
export async function chooseGenerator(
  choice: string = process.env.INTAGLIO_GENERATOR || 'auto',
): Promise<Generator> {
  if (!choices.some((known) => known === choice))
    throw new Error(`INTAGLIO_GENERATOR is one of ${choices.join(', ')}`);
  if (choice === 'node') return nodeGenerator;
  const problem = await buildProblem();
  if (problem === undefined) return nativeGenerator;
  if (choice === 'native') throw new Error(`no native load generator: ${problem}`);
  process.stderr.write(`the load generator is the one in Node, which is less punctual: ${problem}\n`);
  return nodeGenerator;
}

async function buildProblem(): Promise<string | undefined> {
  if (process.platform !== 'linux') return 'it needs epoll(7), which only Linux has';
  if (!existsSync(nativeGenerator.command))
    process.stderr.write('building the load generator (half a minute, once)\n');
  // In its folder, because rustup looks for a pinned toolchain from where it runs.
  const cargo = spawn('cargo', ['build', '--release', '--locked', '--quiet', '--target-dir', target], {
    cwd: crate,
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  try {
    const [status] = await once(cargo, 'exit');
    return status === 0 ? undefined : 'cargo could not build it';
  } catch {
    return 'there is no cargo (Rust 1.88 or newer) on PATH';
  }
}

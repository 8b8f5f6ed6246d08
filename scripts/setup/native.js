/** Builds the native engine where Rust is, and says plainly when Intaglio has to go on without it. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { hashLibrary, hashSources, planNative, readStamp } from './native-stamp.js';
import { runStep } from './run.js';
import { elapsed, say, sayLoudly } from './say.js';
import { findProgram, hasLibclang, installDebian, mayInstall } from './system.js';
import { replaceFile } from './uws.js';

/** @typedef {import('./native-stamp.js').Toolchain} Toolchain */
/** @typedef {import('./native-stamp.js').Stamp} Stamp */

/** The needs of a build besides Rust, the sign that each is there, and the Debian package that brings it. */
const buildTools = [
  { name: 'cmake', debian: 'cmake', present: () => findProgram('cmake') !== undefined },
  { name: 'make', debian: 'make', present: () => findProgram('make') !== undefined },
  {
    name: 'a C++ compiler',
    debian: 'g++',
    present: () =>
      process.env.CXX !== undefined || ['c++', 'g++', 'clang++'].some((name) => findProgram(name)),
  },
  { name: 'libclang', debian: 'libclang-dev', present: hasLibclang },
];

/** @param {string} root */
function places(root) {
  const folder = join(root, 'native');
  const build = join(folder, 'build');
  return {
    folder,
    build,
    library: join(build, 'intaglio_native.node'),
    stamp: join(build, 'stamp.json'),
  };
}

/** @param {string} folder where rustup looks for a pinned toolchain @returns {Toolchain} */
function findToolchain(folder) {
  const missing = buildTools.filter((tool) => !tool.present()).map((tool) => tool.name);
  if (findProgram('cargo') === undefined) return { cargo: false, rustc: '', missing };
  let rustc = 'unknown';
  try {
    rustc = execFileSync('rustc', ['--version'], {
      cwd: folder,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    });
  } catch {
    // The build itself will say what is wrong with this toolchain.
  }
  return { cargo: true, rustc: rustc.trim(), missing };
}

/** @param {string} root @param {{force: boolean}} options */
function survey(root, { force }) {
  const place = places(root);
  const sources = hashSources(place.folder);
  const toolchain = findToolchain(place.folder);
  const stamp = readStamp(place.stamp);
  const plan = planNative({ sources, toolchain, stamp, library: hashLibrary(place.library), force });
  return { place, sources, toolchain, plan };
}

/** @param {string} root @param {{force: boolean}} options */
export function nativeDue(root, options) {
  if (process.env.INTAGLIO_SKIP_NATIVE === '1' && !options.force) return false;
  if (!existsSync(join(root, 'native', 'Cargo.toml'))) return false;
  const { plan } = survey(root, options);
  return plan === 'build' || plan === 'announce';
}

/** @param {string[]} reason */
function sayFallback(reason) {
  sayLoudly([
    ...reason,
    '',
    'Intaglio goes on with the OpenSSL engine: everything works, ML-DSA signing is several times slower,',
    'and private keys are not held in locked memory of their own.',
    'The native engine is tried again when its sources or the tools change; npm run build:native tries at once.',
  ]);
}

/** @param {string[]} missing @returns {string[]} */
function debianNames(missing) {
  return buildTools.filter((tool) => missing.includes(tool.name)).map((tool) => tool.debian);
}

/**
 * @param {string} root @param {{force: boolean}} options
 * @returns {Promise<boolean>} whether the native engine is there
 */
export async function buildNative(root, options) {
  const { place, sources, toolchain, plan } = survey(root, options);
  if (plan === 'nothing') return true;
  if (plan === 'known') return false;
  mkdirSync(place.build, { recursive: true });

  /** @param {Stamp['result']} result @param {Toolchain} tools */
  const remember = (result, { rustc, missing }) => {
    const library = result === 'built' ? hashLibrary(place.library) : undefined;
    /** @type {Stamp} */
    const stamp = { sources, rustc, missing, result, ...(library === undefined ? {} : { library }) };
    const draft = `${place.stamp}.${process.pid}.tmp`;
    writeFileSync(draft, `${JSON.stringify(stamp, null, 2)}\n`);
    renameSync(draft, place.stamp);
  };
  /** @param {Stamp['result']} result @param {Toolchain} tools @param {string[]} reason */
  const giveUp = (result, tools, reason) => {
    // A library of other sources may not fit this version's calls; without it the OpenSSL engine is chosen.
    rmSync(place.library, { force: true });
    remember(result, tools);
    sayFallback(reason);
    return false;
  };

  if (plan === 'announce') {
    return giveUp('unavailable', toolchain, [
      'The native engine is not built: there is no cargo (Rust 1.88 or newer) on PATH.',
    ]);
  }

  const tools = await completeTools(toolchain, place.folder);
  if (tools.missing.length > 0 && !options.force) {
    return giveUp('failed', tools, [
      `The native engine is not built: this machine lacks ${tools.missing.join(', ')}.`,
      `On Debian: apt-get install --no-install-recommends ${debianNames(tools.missing).join(' ')}`,
    ]);
  }
  const failure = await compile(place, tools);
  if (failure !== undefined) return giveUp('failed', tools, failure);
  remember('built', tools);
  return true;
}

/** @param {Toolchain} toolchain @param {string} folder @returns {Promise<Toolchain>} */
async function completeTools(toolchain, folder) {
  if (toolchain.missing.length === 0 || !mayInstall()) return toolchain;
  const { ok, output } = await installDebian(debianNames(toolchain.missing));
  if (!ok) say(`apt-get could not install them: ${output.at(-1) ?? 'it did not say why'}`);
  return findToolchain(folder);
}

/**
 * The same sources make the same library wherever they lie: compilers write `native` and `cargo` in the place of directories.
 * @param {string} folder native/
 */
function withoutPaths(folder) {
  const home = process.env.CARGO_HOME ?? join(homedir(), '.cargo');
  const pairs = [
    [folder, 'native'],
    [home, 'cargo'],
  ];
  // Flags are separated by spaces.
  if (pairs.some(([from]) => from?.includes(' '))) return {};
  /** @param {string} option @param {string | undefined} given */
  const flags = (option, given) =>
    [...(given === undefined ? [] : [given]), ...pairs.map(([from, to]) => `${option}=${from}=${to}`)].join(
      ' ',
    );
  return {
    RUSTFLAGS: flags('--remap-path-prefix', process.env.RUSTFLAGS),
    CFLAGS: flags('-ffile-prefix-map', process.env.CFLAGS),
    CXXFLAGS: flags('-ffile-prefix-map', process.env.CXXFLAGS),
  };
}

/**
 * @param {ReturnType<typeof places>} place @param {Toolchain} tools
 * @returns {Promise<string[] | undefined>} why it failed, undefined when the library is in its place
 */
async function compile(place, tools) {
  const started = Date.now();
  say(`building the native engine with ${tools.rustc} (a minute or more the first time)`);
  const target = join(place.folder, 'target');
  const { ok, output } = await runStep(
    'building the native engine',
    'cargo',
    ['build', '--release', '--locked', '--target-dir', target],
    {
      // In native/, because cargo and rustup read .cargo/config.toml and rust-toolchain.toml from where they run.
      cwd: place.folder,
      // Cargo counts its crates for terminals only, unless told to.
      env: {
        ...process.env,
        ...withoutPaths(place.folder),
        CARGO_TERM_COLOR: 'never',
        CARGO_TERM_PROGRESS_WHEN: 'always',
        CARGO_TERM_PROGRESS_WIDTH: '100',
      },
      counter: /^\s*Building \[.*\] (\d+\/\d+)/,
    },
  );
  if (!ok)
    return [
      'The native engine did not build. What cargo said, shortened:',
      '',
      ...output.filter((line) => !/^\s*(Compiling|Downloaded|Downloading) /.test(line)),
    ];

  const suffix = process.platform === 'darwin' ? 'dylib' : 'so';
  const made = join(target, 'release', `libintaglio_native.${suffix}`);
  const candidate = join(place.build, `candidate-${process.pid}.node`);
  try {
    replaceFile(candidate, readFileSync(made));
    const problem = loadProblem(place.folder, candidate);
    if (problem !== undefined) return ['The native engine was built but does not load:', '', ...problem];
    renameSync(candidate, place.library);
  } finally {
    rmSync(candidate, { force: true });
  }
  say(`native engine built in ${elapsed(started)}`);
  return undefined;
}

/**
 * Loads the library once in the Node that will use it.
 * @param {string} folder @param {string} library
 * @returns {string[] | undefined}
 */
function loadProblem(folder, library) {
  const pinnedNode = join(folder, '..', 'node_modules', '.bin', 'node');
  const node = existsSync(pinnedNode) ? pinnedNode : process.execPath;
  try {
    execFileSync(node, ['-e', 'require(process.argv[1])', library], { stdio: ['ignore', 'ignore', 'pipe'] });
    return undefined;
  } catch (error) {
    const { stderr, message } = /** @type {Error & {stderr?: Buffer}} */ (error);
    return (stderr?.toString('utf8') || message).trim().split('\n').slice(-8);
  }
}

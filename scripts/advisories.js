/**
 * Known holes in packages and crates. The databases are elsewhere: where one cannot be asked, that is said and is no failure, so
 * that a build needs no network; where it can, a hole of severity high or worse in what runs is exit status 1.
 */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
/** A database that does not answer by then is not reachable. */
const timeoutMs = 60_000;

/** @param {string} text */
const say = (text) => process.stdout.write(`advisories: ${text}\n`);

/** @returns {boolean} false: there are holes */
function npmPackages() {
  const { stdout, error } = spawnSync('npm', ['audit', '--omit=dev', '--json'], {
    ...{ cwd: root, encoding: 'utf8', timeout: timeoutMs, maxBuffer: 64 * 1024 * 1024 },
  });
  /** @type {{metadata?: {vulnerabilities?: Record<string, number>}, message?: string}} */
  let report = {};
  try {
    report = JSON.parse(stdout);
  } catch {
    // No JSON at all: said below.
  }
  const counts = report.metadata?.vulnerabilities;
  if (counts === undefined) {
    say(`npm's database could NOT be asked: ${report.message ?? error?.message ?? 'no answer'}`);
    return true;
  }
  const grave = (counts.high ?? 0) + (counts.critical ?? 0);
  say(
    `npm: ${grave} of severity high or critical, ${(counts.total ?? 0) - grave} others; npm audit names them`,
  );
  return grave === 0;
}

/** @returns {boolean} false: there are holes */
function crates() {
  if (spawnSync('cargo', ['deny', '--version'], { stdio: 'ignore' }).status !== 0) {
    say('crates were NOT looked up: cargo deny is not installed (cargo install cargo-deny)');
    return true;
  }
  const { status, stderr } = spawnSync('cargo', ['deny', '--format', 'json', 'check', 'advisories'], {
    ...{ cwd: `${root}native`, encoding: 'utf8', timeout: timeoutMs, maxBuffer: 64 * 1024 * 1024 },
  });
  if (status === 0) {
    say('crates: none');
    return true;
  }
  const found = stderr.split('\n').filter((line) => line.includes('"advisory"'));
  if (found.length === 0) {
    say(`crates could NOT be looked up: ${stderr.trim().split('\n').at(-1)?.slice(0, 200) ?? 'no answer'}`);
    return true;
  }
  say(`crates: ${found.length}; cargo deny check advisories names them`);
  return false;
}

const holds = [npmPackages(), crates()];
process.exitCode = holds.every((held) => held) ? 0 : 1;

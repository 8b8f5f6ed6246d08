import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';

/**
 * Replays the tests of faults that were found by trying the product, a line for each. The injected failures of the log's disk
 * last ten seconds here, as `DRILL_FAULT_MS` says.
 */
interface Fault {
  readonly what: string;
  /** Test files, from `test/`, with the names of those tests that show it; all of a file where there is none. */
  readonly shownBy: readonly (readonly [file: string, names?: RegExp])[];
}

const faults: readonly Fault[] = [
  {
    what: 'a passing failure of any call of the log on its disk stops signing',
    shownBy: [
      ['audit/io-faults.test.ts'],
      ['audit/seal-faults.test.ts'],
      ['audit/segments.test.ts', /receipts of a frame/],
    ],
  },
  {
    what: 'connections alone stop signing for everybody',
    shownBy: [['http/connections.test.ts']],
  },
  {
    what: 'a change is carried out and its caller gets no answer',
    shownBy: [['http/unanswered.test.ts']],
  },
  {
    what: 'chunked bodies, doubtful lengths, doubled headers and members',
    shownBy: [['http/framing.test.ts'], ['core/repeated-members.test.ts']],
  },
  {
    what: 'a damaged data.mdb ends the process with a signal',
    shownBy: [['store/damaged-file.test.ts']],
  },
  {
    what: 'a damaged part of the log spoils what is around it',
    shownBy: [['audit/damaged-log.test.ts'], ['audit/standards/live-cli.test.ts', /damaged/]],
  },
  {
    what: 'entries of the log that were lost pass for those that are no longer kept',
    shownBy: [
      ['audit/standards/cli.test.ts', /without its oldest entries/],
      ['audit/seal-faults.test.ts', /what reads sealed segments/],
    ],
  },
  {
    what: 'private keys of any algorithm lie in ordinary memory',
    shownBy: [['security/core-dump.test.ts'], ['security/heap.test.ts']],
  },
  {
    what: 'the secrets behind capabilities and audit log are in core dumps',
    shownBy: [['security/service-memory.test.ts'], ['engine/mac-keys.test.ts']],
  },
  {
    what: 'the log verifies with keys of one type only',
    shownBy: [['audit/standards/live-cli.test.ts', /keys of one type/]],
  },
  {
    what: 'reasons that mislead, secrets that are replaced in silence',
    shownBy: [
      ['audit/recovery.test.ts', /removed or put back/],
      ['path/cold-start.test.ts', /lost macaroon key/],
    ],
  },
  {
    what: 'metrics name tenants and purposes to everybody',
    shownBy: [['http/metrics-names.test.ts']],
  },
  { what: 'commands end in stack traces, or do what nobody can use', shownBy: [['cli/refusals.test.ts']] },
  {
    what: 'a clock that was ahead once stops signing',
    shownBy: [['audit/recovery.test.ts', /clock|step back/], ['path/clock.test.ts']],
  },
  {
    what: "one tenant's new keys stop others' signing",
    shownBy: [['path/new-keys.test.ts'], ['admission/key-room.test.ts'], ['keys/limits.test.ts']],
  },
  {
    what: "calls that a key's own limit refuses use up the tenant's",
    shownBy: [['http/limits.test.ts'], ['path/limits.test.ts']],
  },
  { what: 'a signal opens the inspector', shownBy: [['security/inspection.test.ts']] },
  { what: 'npm ends and leaves the service behind', shownBy: [['cli/npm-start.test.ts']] },
  {
    what: 'secret files are refused behind links and after fsGroup, and taken from other users',
    shownBy: [['path/secret-files.test.ts']],
  },
  {
    what: 'variables that Kubernetes sets stop the start',
    shownBy: [['config/load.test.ts', /Kubernetes/]],
  },
  { what: 'capabilities that other libraries narrowed are refused', shownBy: [['auth/libraries.test.ts']] },
  {
    what: 'an op_id is Conflict for the same change in other words',
    shownBy: [
      ['path/idempotency.test.ts', /another way/],
      ['keys/idempotency.test.ts', /earlier version/],
    ],
  },
  {
    what: 'refusals are in no metric, rotation makes keys that are not allowed',
    shownBy: [
      ['path/refusal-metrics.test.ts'],
      ['path/allowed-algorithms.test.ts'],
      ['http/audit-refusals.test.ts'],
      ['http/audit-verdicts.test.ts'],
      ['http/thrown.test.ts'],
      ['operations/denials.test.ts'],
    ],
  },
  {
    what: 'whoever can write the store makes a forged signature verify',
    shownBy: [['keys/authenticity.test.ts'], ['path/authenticated-store.test.ts']],
  },
];

const root = join(import.meta.dirname, '..', '..');

/** How many tests passed and failed, as node:test counts them. */
async function run(
  file: string,
  names: RegExp | undefined,
): Promise<{ passed: number; failed: number; text: string }> {
  const pattern = names === undefined ? [] : [`--test-name-pattern=${names.source}`];
  const child = spawn(process.execPath, ['--test', '--test-reporter=tap', ...pattern, join('test', file)], {
    cwd: root,
    env: { DRILL_FAULT_MS: '10000', ...process.env },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let text = '';
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk;
  });
  await once(child, 'close');
  const count = (what: string) => Number(new RegExp(`^# ${what} (\\d+)$`, 'm').exec(text)?.[1] ?? 0);
  return { passed: count('pass'), failed: count('fail') + count('cancelled'), text };
}

let failures = 0;
for (const { what, shownBy } of faults) {
  const { isTTY } = process.stdout;
  if (isTTY) process.stdout.write(`… ${what}`);
  let [passed, failed] = [0, 0];
  let output = '';
  for (const [file, names] of shownBy) {
    const ran = await run(file, names);
    passed += ran.passed;
    failed += ran.failed + (ran.passed === 0 ? 1 : 0);
    if (ran.failed > 0 || ran.passed === 0) output += ran.text;
  }
  failures += failed;
  const verdict = failed === 0 ? '✔ gone:' : '✖ IS BACK:';
  process.stdout.write(
    `${isTTY ? '\r' : ''}${verdict} ${what} (${passed} tests passed${failed > 0 ? `, ${failed} failed` : ''})\n`,
  );
  if (failed > 0) process.stderr.write(output);
}
process.exitCode = failures === 0 ? 0 : 1;

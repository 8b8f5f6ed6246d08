import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { withArchive } from '../../src/audit/disk/archive.ts';
import { systemFiles } from '../../src/audit/disk/files.ts';
import { segmentLeaves } from '../../src/audit/disk/layout.ts';
import { openLogReader } from '../../src/audit/reading/log-reader.ts';
import { intaglio } from '../cli/intaglio.ts';
import { temporaryDirectory } from '../support/temporary-directory.ts';
import { appendMany, type Machine, machine, origin, startLog, until } from './support/log.ts';
import { seededSigner } from './support/signers.ts';

const dayMs = 86_400_000;
const begun = Date.parse('2019-03-01T00:00:00Z');

/** The first index that is kept, as the newest record of the log that says so. */
function letGo(audit: string): number {
  const reader = openLogReader(audit);
  const near = reader.records(0, reader.checkpoint()?.size ?? 0, Buffer.from('"type":"retention"'));
  const records = [...near].filter(({ record }) => record.type === 'retention');
  return Number(records.at(-1)?.record.data?.minimum_index ?? 0);
}

/** Until there are so many sealed segments, and the log has let those before `keptFrom` go. */
async function grow(on: Machine, directory: string, segments: number, keptFrom = 0): Promise<void> {
  const running = await startLog(on, { directory, options: { retainMs: 30 * dayMs } });
  await until(() => running.log.state === 'ready', 'the log is ready');
  const seg = join(directory, 'audit/e1/seg');
  const sealed = () =>
    (existsSync(seg) ? readdirSync(seg) : []).filter((name) => name.endsWith('.tile1')).length;
  while (sealed() < segments) {
    await appendMany(running.log, segmentLeaves / 4, 1_000);
    on.nowMs = (on.nowMs ?? 0) + dayMs;
  }
  await until(() => letGo(join(directory, 'audit')) === keptFrom, 'old segments are let go');
  await running.log.close();
}

test('old segments are let go by a record and stay; archived they verify beside the rest, and the log goes on without them', {
  timeout: 120_000,
}, async (context) => {
  const directory = temporaryDirectory(context);
  const [audit, archive] = [join(directory, 'audit'), join(directory, 'archive')];
  const keys = join(directory, 'keys');
  const signers = [seededSigner('ed25519', origin), seededSigner('mlDsa44', origin)];
  writeFileSync(keys, signers.map(({ vkey }) => `${vkey}\n`).join(''));
  const on = { ...machine(systemFiles), nowMs: begun };
  const verify = (...more: string[]) =>
    intaglio(['audit', 'verify', audit, '--keys', keys, '--json', ...more]);
  const archiving = (...more: string[]) => intaglio(['audit', 'archive', directory, archive, ...more]);
  const entriesIn = (place: string) =>
    (existsSync(join(place, 'e1/seg')) ? readdirSync(join(place, 'e1/seg')) : []).filter((name) =>
      name.endsWith('.zst'),
    );

  await grow(on, directory, 1);
  const early = await archiving();
  assert.deepEqual([early.status, early.stderr], [0, '']);
  assert.match(early.stdout, /: 0 segments .*the log lets none go/);

  // A segment is a few days; the next one is sealed when the first is older than the 30 days.
  on.nowMs += 40 * dayMs;
  await grow(on, directory, 2, segmentLeaves);
  assert.deepEqual(
    entriesIn(audit),
    ['000000000000.ents.zst', '000000000001.ents.zst'],
    'nothing is deleted',
  );

  assert.match((await archiving('--before', '2019-02-01')).stdout, /: 0 segments/);
  assert.equal((await archiving('--before', 'soon')).status, 1);
  const moved = await archiving('--before', '2019-04-01');
  assert.deepEqual([moved.status, moved.stderr], [0, '']);
  assert.match(moved.stdout, /: 1 segments of 65536 records\n$/);
  assert.deepEqual(
    [entriesIn(audit), entriesIn(archive)],
    [['000000000001.ents.zst'], ['000000000000.ents.zst']],
  );
  assert.match((await archiving()).stdout, /: 0 segments/);

  const alone = await verify();
  assert.equal(alone.status, 0, alone.stdout);
  const { firstHere, keptFrom } = JSON.parse(alone.stdout);
  assert.deepEqual([firstHere, keptFrom], [segmentLeaves, segmentLeaves]);
  const whole = await verify('--archive', archive);
  assert.equal(whole.status, 0, whole.stdout);
  assert.deepEqual([JSON.parse(whole.stdout).firstHere, JSON.parse(whole.stdout).verified], [0, true]);
  assert.ok(openLogReader(audit, withArchive(systemFiles, audit, archive)).entry(5) !== undefined);
  assert.ok(openLogReader(join(audit, 'e1'), withArchive(systemFiles, join(audit, 'e1'), archive)).entry(5));

  const archived = join(archive, 'e1/seg/000000000000.ents.zst');
  const bytes = readFileSync(archived);
  bytes[300_000]! ^= 1;
  writeFileSync(archived, bytes);
  assert.equal((await verify('--archive', archive)).status, 2);

  const again = await startLog(on, { directory });
  await until(() => again.log.state === 'ready', 'the log is ready without what was moved');
  await again.log.close();
  assert.equal((await intaglio(['audit', 'scrub', audit])).status, 0);
});

test('a copy that does not fit, and a segment that is damaged, are not removed where they were', async (context) => {
  const directory = temporaryDirectory(context);
  const archive = join(directory, 'archive');
  const on = { ...machine(systemFiles), nowMs: begun };
  await grow(on, directory, 1);
  on.nowMs += 40 * dayMs;
  const running = await startLog(on, { directory, options: { retainMs: 30 * dayMs } });
  await appendMany(running.log, 8);
  await until(() => letGo(join(directory, 'audit')) === segmentLeaves, 'the segment is let go');
  await running.log.close();
  const source = join(directory, 'audit/e1/seg/000000000000.ents.zst');
  const whole = readFileSync(source);

  systemFiles.makeDirectory(join(archive, 'e1/seg'));
  writeFileSync(join(archive, 'e1/seg/000000000000.ents.zst'), 'another file');
  const other = await intaglio(['audit', 'archive', directory, archive]);
  assert.equal(other.status, 2);
  assert.match(other.stderr, /is not what/);
  assert.deepEqual(readFileSync(source), whole);

  const damaged = Buffer.from(whole);
  damaged[200_000]! ^= 1;
  writeFileSync(source, damaged);
  const refused = await intaglio(['audit', 'archive', directory, join(directory, 'second')]);
  assert.equal(refused.status, 2);
  assert.match(refused.stderr, /do not fit their tile; it stays where it is/);
  assert.ok(existsSync(source));
});

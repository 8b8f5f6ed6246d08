import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import test from 'node:test';
import { temporaryDirectory } from '../support/service.ts';
import { checkout, copyInto, isFree, isKept, linesOfReadme, npmStart } from './newcomer.ts';

// DRILL_CLONE: `npm run drill:newcomer`, with a clone, packages of the registry and the port of the page.
const clone = process.env.DRILL_CLONE !== undefined;
const skip = spawnSync('curl', ['--version']).status !== 0 && 'there is no curl';

test('a newcomer starts by README.md, copies its lines and those that the start prints, and starts again', {
  skip,
  timeout: 1_200_000,
}, async (context) => {
  const place = checkout(temporaryDirectory(), { clone });
  const takesUsualPort = clone && (await isFree(7441));
  const env = { INTAGLIO_SKIP_NATIVE: '1', ...(takesUsualPort ? {} : { KMS_BIND: '127.0.0.1:0' }) };
  const startedMs = performance.now();
  const first = await npmStart(context, place, env);
  context.diagnostic(`serves after ${Math.round(performance.now() - startedMs)} ms at ${first.url}`);
  if (takesUsualPort) assert.equal(first.url, 'http://127.0.0.1:7441');
  const ofPage = linesOfReadme();
  const here = ofPage.map((line) => line.replaceAll('http://127.0.0.1:7441', first.url));
  assert.deepEqual(first.lines, here, 'README.md has the lines that are printed');
  context.diagnostic(copyInto(place, first.lines));
  await first.stop();
  assert.ok(isKept(place));

  const second = await npmStart(context, place, env);
  copyInto(
    place,
    ofPage.map((line) => line.replaceAll('http://127.0.0.1:7441', second.url)),
  );
  await second.stop();
  assert.doesNotMatch(second.printed(), /error/i);
});

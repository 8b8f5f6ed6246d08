/** A process of its own that opens a source of the root key, or makes a new key in all of them; see custody/root-key/apart.ts. */
import { writeSync } from 'node:fs';
import { endNow, endWithParent } from '../src/core/process/parent.ts';
import { StartError } from '../src/core/start-error.ts';
import type { ErrandNote } from '../src/custody/root-key/apart.ts';
import type { ListedSource } from '../src/custody/root-key/listed-source.ts';
import { type Reading, readSource, sourcePlace } from '../src/custody/root-key/read-source.ts';
import { renewAll } from '../src/custody/root-key/renew-all.ts';
import { readRootSources } from '../src/custody/root-key/sources-file.ts';
import type { Engine } from '../src/engine/engine.ts';
import { createOpensslEngine } from '../src/engine/openssl/index.ts';
import { openSystemCalls } from '../src/engine/system-calls.ts';

/**
 * Of this process, while a cloud KMS is asked. With the largest SDK it takes 150 MiB; what is more comes of an answer, as SDKs read
 * those of services of tokens without a bound. Data arrive on this thread, so that its timers run between them.
 */
const mostMemoryBytes = 512 * 1_048_576;
const lookEveryMs = 20;

openSystemCalls().forbidCoreDumps();
// The time that it has is counted by the service.
endWithParent();
// The look of endWithParent is a second apart; what a service that was killed asked for is not to be written beside that of the next.
process.stdin.once('close', endNow).resume();
const { errand, dataDir, groupAllowed, out } = JSON.parse(process.argv[2] ?? '') as ErrandNote;
const surroundings = { dataDir, rule: { groupAllowed }, credentials: process.env.CREDENTIALS_DIRECTORY };

try {
  const bytes = await rootKey();
  try {
    writeSync(out, bytes, 0, bytes.length, 0);
  } finally {
    bytes.fill(0);
  }
} catch (cause) {
  // Errors of libraries may show what they were given.
  const reason = cause instanceof StartError ? cause.message : 'the root key could not be opened';
  say(reason);
  process.exitCode = 1;
}
// Sockets of a KMS that hangs would keep this process.
process.exit();

/** What else was written is not said; see saidIn. NUL ends it, too. */
function say(reason: string): void {
  process.stderr.write(`\0${reason}\0`);
}

/** Ends this process with its reason where it takes more. */
function boundMemory(place: string): void {
  const look = () => {
    if (process.memoryUsage.rss() < mostMemoryBytes) return;
    say(`${place}: an answer without an end was left; see what endpoint, proxy and service of tokens are`);
    process.exit(1);
  };
  setInterval(look, lookEveryMs).unref();
}

/** Names of keys are the same in both. */
function engine(): Engine {
  return createOpensslEngine({ reseedIntervalOps: 1, keyCacheBytes: 1 });
}

function isCloud({ kind }: ListedSource): boolean {
  return kind === 'aws' || kind === 'gcp' || kind === 'azure';
}

/** A module of a token is loaded only where a source needs one. */
async function readingFor(sources: readonly ListedSource[]): Promise<Reading> {
  const has = (wanted: ListedSource['kind']) => sources.some(({ kind }) => kind === wanted);
  const token = has('pkcs11')
    ? await (await import('../src/custody/pkcs11/root-wrapping.ts')).openRootWrapping()
    : undefined;
  const tpm = has('tpm') ? (await import('../src/custody/tpm/root-sealing.ts')).tpmSealing : undefined;
  const cloud = sources.some(isCloud)
    ? (await import('../src/custody/root-key/cloud/providers.ts')).openCloudWrapping(engine())
    : undefined;
  return { ...surroundings, ...(token && { token }), ...(tpm && { tpm }), ...(cloud && { cloud }) };
}

async function rootKey(): Promise<Uint8Array> {
  const read = readRootSources(dataDir);
  if (!read.ok) throw new StartError(read.failure.hint ?? 'the list of sources cannot be read');
  const sources = read.value?.sources ?? [];
  const clouds = (errand.do === 'renew' ? sources : sources.filter(({ id }) => id === errand.id)).filter(
    isCloud,
  );
  if (clouds.length > 0) boundMemory(clouds.map((source) => sourcePlace(source)).join(', '));
  if (errand.do === 'renew') return renewAll(sources, errand.generation, engine(), await readingFor(sources));
  const source = sources.find(({ id }) => id === errand.id);
  if (source === undefined) throw new StartError(`there is no source ${errand.id}`);
  return readSource(source, await readingFor([source]));
}

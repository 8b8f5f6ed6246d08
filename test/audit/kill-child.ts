/**
 * Run by kill.test.ts: a log in its own process and thread, whose records it appends as fast as the slots permit. Writes
 * a line for each that was acknowledged: operation, index, seq. Argument: the data directory.
 */
import { randomUUID } from 'node:crypto';
import { writeSync } from 'node:fs';
import { join } from 'node:path';
import { storeAnchors } from '../../src/audit/disk/anchor.ts';
import { startAuditLog } from '../../src/audit/service/start-log-thread.ts';
import { softwareMacKey } from '../../src/core/mac-key.ts';
import { LmdbStore } from '../../src/store/lmdb/lmdb-store.ts';
import { event } from './support/log.ts';
import { seededSigner } from './support/signers.ts';

const directory = process.argv[2] as string;
const store = await LmdbStore.open({
  directory: join(directory, 'store'),
  maxBytes: 2 ** 28,
  report: () => {},
});
const log = startAuditLog(
  {
    directory: join(directory, 'audit'),
    headPath: join(directory, 'audit.head'),
    secret: new Uint8Array(32).fill(7),
    origin: 'kms.example/audit/1',
    inputHash: { mode: 'hmac', modeOfTenant: {}, kid: 'k1' },
    // Checkpoints and anchors as often as they can be, so that they too are met by the kill.
    options: {
      ballastBytes: 0,
      checkpointMinIntervalMs: 1,
      checkpointIntervalMs: 5,
      reserveRatio: 0,
      reserveSeconds: 0,
    },
  },
  {
    checkpointKeys: async (origin) => ({
      signers: [seededSigner('ed25519', origin), seededSigner('mlDsa44', origin)],
    }),
    anchors: storeAnchors(store, softwareMacKey(new Uint8Array(32).fill(8))),
    report: () => {},
  },
  (cause) => {
    throw cause;
  },
);
await log.recovered();
writeSync(1, `${log.state} ${log.reason ?? ''}\n`);
if (log.state !== 'ready') process.exit(1);
if (process.argv[3] === 'close') {
  await log.close();
  await store.close();
  process.exit(0);
}

const keys = ['acme/a', 'acme/b', 'beta/c'];
for (;;) {
  if (!log.reserve(16)) throw new Error(log.reason);
  const together = Array.from({ length: 16 }, async (_, n) => {
    const opId = randomUUID();
    const done = await log.append(
      event({ opId, keyId: keys[n % 3] as string }),
      n === 7 ? 'synced' : 'written',
    );
    if (!done.ok) throw new Error('refused');
    return `${opId} ${done.value.index} ${done.value.seq}\n`;
  });
  writeSync(1, (await Promise.all(together)).join(''));
}

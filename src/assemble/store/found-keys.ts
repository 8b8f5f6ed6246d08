import { createHash, randomUUID } from 'node:crypto';
import type { AuditEvent, AuditRecorder } from '../../audit/audit-log.ts';
import { publicKeySha256, type RecordMac } from '../../keys/authenticity.ts';
import { pause, walk } from '../../keys/background.ts';
import { decodeHead, headKey } from '../../keys/codec.ts';
import { parseKid } from '../../keys/kid.ts';
import type { KeyHead } from '../../keys/record.ts';
import { KeyRecords } from '../../keys/records.ts';
import type { Store } from '../../store/store.ts';

const retryMs = 1_000;

/**
 * Tells the audit log of the keys that were taken as they were found: a `key.found` for each, with the public keys that count
 * from then on. Resolves to whether all of them are on the log, synced; waits for a log that takes no records until
 * `signal` ends that. Done twice, it makes twice the records.
 */
export async function recordFoundKeys(
  parts: { readonly store: Store; readonly mac: RecordMac; readonly recorder: AuditRecorder },
  signal: AbortSignal,
): Promise<boolean> {
  // A caller that asks for a key whose record is not authentic is told of it.
  const records = new KeyRecords(parts.store, parts.mac, () => {});
  await walk(parts.store, headKey(''), signal, async (entries) => {
    const events: AuditEvent[] = [];
    for (const { key, value } of entries) {
      const head = decodeHead(key, value, parts.mac);
      if (head?.found === true) events.push(...(await foundEvent(records, head)));
    }
    await Promise.all(events.map((event) => record(parts.recorder, event, signal)));
  });
  return !signal.aborted;
}

async function record(recorder: AuditRecorder, event: AuditEvent, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    if (recorder.reserve(1) === undefined && (await recorder.append(event, 'synced')).ok) return;
    await pause(retryMs, signal);
  }
}

/** Without `state`: which version is current is the log's to know, and may have changed meanwhile. */
async function foundEvent(records: KeyRecords, head: KeyHead): Promise<AuditEvent[]> {
  const { id, alg, tenant } = head;
  const kid = parseKid(id);
  const read = kid === undefined ? undefined : await records.versions(kid);
  const found = read?.ok === true ? read.value.filter(({ record }) => record.found === true) : [];
  const last = found.at(-1)?.record;
  if (last === undefined) return [];
  const all = createHash('sha256');
  for (const { record } of found) all.update(publicKeySha256(record.parts), 'hex');
  return [
    {
      ...{ actor: 'key-store', alg, inputDigest: undefined, keyId: id, keyVersion: last.version },
      ...{ opId: randomUUID(), purpose: 'adoption', result: 'ok', tenant, type: 'key.found' },
      data: {
        public_key_sha256: publicKeySha256(last.parts),
        versions: found.length,
        versions_sha256: all.digest('hex'),
      },
    },
  ];
}

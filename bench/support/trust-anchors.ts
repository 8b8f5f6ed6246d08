import { randomUUID, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { algorithmNames } from '../../src/algorithms/registry.ts';
import { defaultTuning } from '../../src/assemble/cryptography.ts';
import { chooseEngine } from '../../src/assemble/engine.ts';
import { openRootKey } from '../../src/assemble/store/root-key.ts';
import { openStore } from '../../src/assemble/store/store.ts';
import { loadConfig } from '../../src/config/load.ts';
import { ResealingStore } from '../../src/custody/root-key/rotation/resealing-store.ts';
import type { RecordMac } from '../../src/keys/authenticity.ts';
import { createHealth } from '../../src/observe/health.ts';
import { createLog } from '../../src/observe/log.ts';
import { createMetrics } from '../../src/observe/metrics.ts';
import type { Change } from '../../src/store/store.ts';
import {
  anchorDigestKey,
  anchorRecordKey,
  anchorSubjectPrefix,
  certificateFacts,
  sealAnchor,
  sha256Hex,
  type TrustAnchor,
} from '../../src/trust/anchor-records.ts';
import { type Certificate, readCertificate } from '../../src/trust/certificate.ts';
import { makeCertificate, makeKeys } from '../../test/support/certificates.ts';
import { developmentPlace } from '../../test/support/development-mode.ts';

/** A commit of three records each stays far below the most that one takes. */
const anchorsPerCommit = 500;

/**
 * Writes trust anchors, authorities of different names and keys, into the store of a service that is stopped: as it writes them
 * itself, but without a call, an approval and an audit record for each. Gives their ids.
 */
export async function writeTrustAnchors(
  dataDir: string,
  count: number,
  settings: Readonly<Record<string, string>> = {},
): Promise<readonly string[]> {
  const env = { ...settings, KMS_DATA_DIR: dataDir };
  const readFile = (path: string) => readFileSync(path, 'utf8');
  const loaded = loadConfig({ argv: [], env, cores: 2, algorithmNames, readFile });
  if (!loaded.ok) throw new Error(loaded.problems.join('\n'));
  const { config } = loaded;
  const log = createLog('error', 'bench', process.stderr);
  const { engine } = chooseEngine(config, log);
  const store = new ResealingStore(await openStore(config, log, createHealth()));
  try {
    const metrics = createMetrics('bench');
    const overlapMs = defaultTuning.rootOverlapMs;
    // Also holds the store against its head, so that each commit leaves one again.
    const rootKey = await openRootKey(config, log, { engine, store, metrics, overlapMs });
    const ids: string[] = [];
    const template = makeTemplate();
    while (ids.length < count) {
      const changes: Change[] = [];
      for (let left = Math.min(anchorsPerCommit, count - ids.length); left > 0; left--) {
        const id = randomUUID();
        ids.push(id);
        changes.push(...changesOf(id, `authority ${ids.length}`, template, rootKey.root.mac));
      }
      const outcome = await store.commit(changes);
      if (!outcome.ok || !outcome.value.committed) throw new Error('the store takes no trust anchors');
    }
    await rootKey.close();
    return ids;
  } finally {
    await store.close();
    engine.wipe();
  }
}

interface Template {
  readonly keys: ReturnType<typeof makeKeys>;
  readonly name: string;
  readonly certificate: Certificate;
}

/** All authorities have one key and differ in name and serial number: reading each as the service does would take a minute. */
function makeTemplate(): Template {
  const keys = makeKeys('ed25519');
  const name = 'authority 0';
  const certificate = readCertificate(makeAuthority(keys, name));
  if (certificate?.subject.compared.includes(name) !== true)
    throw new Error('the certificate cannot be read');
  return { keys, name, certificate };
}

function makeAuthority(keys: Template['keys'], name: string): Uint8Array {
  return makeCertificate({ subject: [['CN', name]], isCa: true, kind: 'ed25519', keys }).der;
}

function changesOf(id: string, name: string, template: Template, mac: RecordMac): Change[] {
  const der = makeAuthority(template.keys, name);
  const library = new X509Certificate(der);
  const [sha256, serial] = [sha256Hex(der), library.serialNumber.toLowerCase()];
  const compared = template.certificate.subject.compared.replaceAll(template.name, name);
  const { tenant_id: tenant, environment, plane } = developmentPlace;
  const anchor: TrustAnchor = {
    ...{ id, tenant, type: 'internal_ca', places: [{ environment, plane }], addedAtMs: Date.now() },
    certificate: certificateFacts({ ...template.certificate, sha256, serial, library }),
    der,
  };
  const value = Buffer.from(id);
  return [
    { key: anchorRecordKey(tenant, id), value: sealAnchor(anchor, mac), expectedRevision: 0 },
    { key: anchorDigestKey(tenant, sha256), value, expectedRevision: 0 },
    { key: `${anchorSubjectPrefix(tenant, compared)}${id}`, value, expectedRevision: 0 },
  ];
}

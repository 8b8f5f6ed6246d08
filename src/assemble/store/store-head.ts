import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Config } from '../../config/load.ts';
import { errorCode, writePrivateFile } from '../../core/private-file.ts';
import { ok, type Result } from '../../core/result.ts';
import { StartError } from '../../core/start-error.ts';
import type { LiveRoot } from '../../custody/root-key/live-root.ts';
import { TpmAnchor } from '../../custody/tpm/anchor.ts';
import type { TpmDevice } from '../../custody/tpm/device.ts';
import { headKey } from '../../keys/codec.ts';
import type { Health } from '../../observe/health.ts';
import type { Logger } from '../../observe/log.ts';
import { describeFailure, type StoreIntegrity } from '../../store/integrity.ts';
import type { Store } from '../../store/store.ts';
import { addOfflineAct, readOfflineActs, writeOfflineActs } from '../offline-acts.ts';

/** The name of the key, derived from the root key, under which the head over all records is sealed. */
export const storeHeadPurpose = 'store-head';

/** Beside the store: who writes into the store alone cannot make it look like one that never had a head. */
export const sealedMark = 'store.sealed';

/** A record of the audit log has 4 KiB. */
const maxDetailCharacters = 1_900;

interface Parts {
  readonly root: LiveRoot;
  readonly store: Store;
}

/**
 * Holds the records of the store against the head that the last commit has left, and has every commit leave one from now on. Throws
 * a StartError where they are not what was written last, unless an operator has accepted just that.
 */
export async function sealStore(config: Config, log: Logger, { root, store }: Parts): Promise<void> {
  const { integrity } = store;
  if (integrity === undefined) {
    // Whatever is put around a store hands this on, or nothing would be found and nobody told.
    if (store.durable) throw new Error('a durable store has a head over its records');
    return;
  }
  const startedMs = performance.now();
  const mark = join(config.dataDir, sealedMark);
  const wasSealed = existsSync(mark);
  const { key, checked } = await checkHead(integrity, root, wasSealed);
  if (checked.state === 'broken') {
    const { id } = checked.failure;
    acceptAsItIs(config, log, { id, detail: describeFailure(checked.failure) });
    answered(await integrity.seal(key));
  } else if (checked.state === 'unsealed') {
    await noteFoundKeys(config, store);
    const { records } = answered(await integrity.seal(key));
    log.info({ records }, 'the store has a head over all of its records from now on');
  } else {
    log.info(
      { records: checked.records, took_ms: Math.round(performance.now() - startedMs) },
      'the records of the store are those that were written last',
    );
  }
  if (!wasSealed) writeMark(mark);
}

/** A rotation that was cut off has left the head under the root key before or, at its end, under the current one. */
async function checkHead(integrity: StoreIntegrity, root: LiveRoot, wasSealed: boolean) {
  const before = root.deriveBefore(storeHeadPurpose);
  if (before !== undefined) {
    const checked = answered(await integrity.check(before, wasSealed));
    if (checked.state !== 'broken' || checked.failure.reason !== 'head_rejected')
      return { key: before, checked };
  }
  const key = root.derive(storeHeadPurpose);
  return { key, checked: answered(await integrity.check(key, wasSealed)) };
}

/** The head over all records under the current root key, as the end of a rotation wants it; commits go on meanwhile. */
export async function resealStoreHead({ root, store }: Parts): Promise<Result<void>> {
  if (store.integrity === undefined) return ok(undefined);
  return store.integrity.reseal(root.derive(storeHeadPurpose));
}

/** For the audit log, before they are taken: a second time is somebody who took the head away. */
async function noteFoundKeys({ dataDir }: Config, store: Store): Promise<void> {
  const keys = answered(await store.list({ prefix: headKey(''), limit: 1 }));
  if (keys.length === 0) return;
  const reason = 'its keys were taken as they are: it had no head';
  addOfflineAct(dataDir, { type: 'store.sealed', atMs: Date.now(), actor: 'key-store', reason, facts: {} });
}

/** Returns where an operator has accepted this failure, and throws otherwise. */
export function acceptAsItIs(
  { dataDir }: Config,
  log: Logger,
  failure: { readonly id: string; readonly detail: string },
): void {
  const { detail } = failure;
  const acts = readOfflineActs(dataDir);
  const accepted = acts.some(({ type, facts }) => type === 'store.accepted' && facts.failure === failure.id);
  if (!accepted) {
    throw new StartError(
      `the store in ${dataDir} is not as it was left: ${detail}. Restore the data directory from a backup; or, to go on with what is there: intaglio store accept ${dataDir} --failure ${failure.id} --reason "..."`,
    );
  }
  log.warn({ failure: failure.id, detail }, 'THE STORE IS TAKEN AS IT IS: an operator has accepted it');
  // The audit log is told what it was.
  writeOfflineActs(
    dataDir,
    acts.map((act) =>
      act.facts.failure === failure.id
        ? { ...act, facts: { ...act.facts, detail: detail.slice(0, maxDetailCharacters) } }
        : act,
    ),
  );
}

/** Holds the store against the counter in the TPM, where the configuration names one. Throws a StartError where it was put back. */
export async function openTpmAnchor(
  config: Config,
  log: Logger,
  {
    device,
    store,
    health,
  }: { readonly device: TpmDevice | undefined; readonly store: Store; readonly health: Health },
): Promise<TpmAnchor | undefined> {
  const { tpmCounter: index } = config;
  if (device === undefined || index === 0) return undefined;
  const anchor = await TpmAnchor.open({
    ...{ device, index, store },
    accept: (failure) => acceptAsItIs(config, log, failure),
    report(problem) {
      if (problem === undefined) log.info({}, 'the TPM counts for the store again');
      else
        log.warn(
          { reason: problem },
          'THE TPM DOES NOT COUNT FOR THE STORE: a copy of now would not be told from later ones',
        );
    },
  });
  health.condition('tpm_counter', 'wanted', () => anchor.problem === undefined);
  return anchor;
}

function answered<T>(result: Result<T>): T {
  if (!result.ok) throw new StartError('the store does not answer');
  return result.value;
}

function writeMark(path: string): void {
  try {
    writePrivateFile(path, 'store/ has a head over all of its records\n', 'replace');
  } catch (cause) {
    throw new StartError(`${path} cannot be made (${errorCode(cause)})`, { cause });
  }
}

import type { Authenticator } from '../auth/auth.ts';
import { createDischargeReader } from '../auth/macaroon/approval.ts';
import { createMacaroonAuthenticator } from '../auth/macaroon/authenticator.ts';
import { createTokenAuthority } from '../auth/macaroon/authority.ts';
import { StoreLedger } from '../auth/macaroon/ledger.ts';
import { StoreRevocations } from '../auth/macaroon/revocations.ts';
import type { Reload, ServiceRootKeys } from '../auth/macaroon/root-keys.ts';
import { whereClockIsSteady } from '../auth/steady-clock.ts';
import type { TokenAuthority } from '../auth/tokens.ts';
import type { Config } from '../config/load.ts';
import { prepareAll, type Reloadable } from '../config/reload.ts';
import type { Approvals } from '../core/approvals.ts';
import { systemClock } from '../core/clock.ts';
import { StartError } from '../core/start-error.ts';
import type { Logger } from '../observe/log.ts';
import type { Store } from '../store/store.ts';
import { openPlacedCallers } from './kms-v1/callers.ts';

/** Its keys are read again by a reload, and when their files change. */
export interface OpenedCapabilities extends Reloadable {
  readonly authenticator: Authenticator;
  readonly authority: TokenAuthority;
  /** Agreements of second principals to changes that ask for one. */
  readonly approvals: Approvals;
  /** Idempotent. */
  close(): void;
}

/** A key that was added is in use, and one that was removed is not, within about this time; it costs a stat for each. */
const reloadMs = 1_000;
/** Entries are kept for minutes beyond their use, so nothing is lost by waiting. */
const pruneMs = 10 * 60_000;
/** A minute in ten: a clock that is put right by as much ends nothing early, as entries are kept for longer beyond their use. */
const steadyMs = 60_000;

/** The maker and the judge of capabilities, with all that they keep. */
export async function openCapabilities(
  config: Config,
  log: Logger,
  { rootKeys, store }: { readonly rootKeys: ServiceRootKeys; readonly store: Store },
): Promise<OpenedCapabilities> {
  const revocations = await StoreRevocations.open(store, systemClock);
  if (!revocations.ok) {
    throw new StartError(
      `the revocations in the store cannot be read: ${revocations.failure.hint ?? revocations.failure.code}`,
    );
  }
  const ledger = new StoreLedger(store, systemClock);
  const reload = createReload(rootKeys, log);
  const prune = whereClockIsSteady(systemClock, steadyMs, () => {
    const pruned = Promise.all([revocations.value.prune(), ledger.prune()]);
    pruned.catch((cause: unknown) => log.error({ err: cause }, 'expired revocations were not removed'));
  });
  const timers = [setInterval(reload, reloadMs), setInterval(prune, pruneMs)];
  for (const timer of timers) timer.unref();
  prune();
  const callers = openPlacedCallers(config, log, {
    capabilities: createMacaroonAuthenticator({
      rootKey: rootKeys,
      timeSkewToleranceMs: config.timeSkewToleranceMs,
      audience: config.audience === '' ? undefined : config.audience,
      revocations: revocations.value,
      ledger,
    }),
    ...{ discharges: createDischargeReader(rootKeys, revocations.value), ledger },
  });
  return {
    ...{ authenticator: callers.authenticator, approvals: callers.approvals },
    authority: createTokenAuthority({
      ...{ rootKeys, revocations: revocations.value, clock: systemClock },
      onProblem: (problem) => log.error({ problem }, 'no macaroon key was made'),
    }),
    prepare: (next) => prepareAll([callers, reloadableKeys(rootKeys, log)], next),
    close() {
      for (const timer of timers) clearInterval(timer);
      revocations.value.close();
    },
  };
}

function reloadableKeys(rootKeys: ServiceRootKeys, log: Logger): Reloadable {
  return {
    prepare() {
      const read = rootKeys.read();
      if (!read.ok) return { problems: [read.problem] };
      const { added, removed } = read;
      const differ = added.length > 0 || removed.length > 0;
      return {
        commit() {
          read.take();
          tellKeys(read, log);
        },
        ...(differ ? { contents: { macaroon_keys: `added ${added}, removed ${removed}` } } : undefined),
      };
    },
  };
}

/** Says a problem once, and not every second. */
function createReload(rootKeys: ServiceRootKeys, log: Logger): () => void {
  let told: string | undefined;
  return () => {
    const reloaded = rootKeys.reload();
    const problem = reloaded.ok ? undefined : reloaded.problem;
    if (problem !== undefined && problem !== told) {
      log.error({ problem }, 'the macaroon keys were not read again; those of before go on');
    }
    told = problem;
    if (reloaded.ok) tellKeys(reloaded, log);
  };
}

function tellKeys({ added, removed }: Extract<Reload, { ok: true }>, log: Logger): void {
  if (added.length > 0 || removed.length > 0) log.info({ added, removed }, 'macaroon keys have changed');
}

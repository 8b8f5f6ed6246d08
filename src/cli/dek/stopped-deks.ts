import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { peerUserAuthenticator } from '../../auth/peer-users.ts';
import type { Config } from '../../config/load.ts';
import { createCancellation } from '../../core/cancellation.ts';
import { peerAt } from '../../core/peer.ts';
import type { Result } from '../../core/result.ts';
import { StartError } from '../../core/start-error.ts';
import { givenRootKey } from '../../custody/root-key/given.ts';
import { createLog } from '../../observe/log.ts';
import type { DekOperations } from '../../operations/deks/operations.ts';
import type { Operation } from '../../operations/operation.ts';
import { openService, type Service } from '../../service.ts';
import { secretRule, settingsOrFail } from '../settings.ts';
import { inWordsOfConfig } from './advice.ts';
import { everyRole, readDekConfig } from './config-file.ts';

export interface StoppedDeksFlags {
  readonly dataDir: string;
  readonly config?: string;
}

/** The flags of `serve` that mean this directory. */
export function settingsOfDeks({ dataDir }: StoppedDeksFlags): readonly string[] {
  return ['--data-dir', dataDir, '--dek', 'true'];
}

/** As a call of an administrator, which is on the log. */
export type AskDeks = <Request, Answer>(
  operation: Operation<Request, Answer>,
  request: Request,
) => Promise<Result<Answer>>;

/**
 * The directory of a `serve-dek` that does not run, for the time of `use`. `make`: where there is none it is made. Throws a
 * StartError.
 */
export async function withStoppedDeks<T>(
  flags: StoppedDeksFlags,
  use: (ask: AskDeks, operations: DekOperations) => Promise<T>,
  make = false,
): Promise<T> {
  try {
    return await withOpenDeks(flags, use, make);
  } catch (cause) {
    throw cause instanceof StartError ? new StartError(inWordsOfConfig(cause, flags), { cause }) : cause;
  }
}

async function withOpenDeks<T>(
  { dataDir, config: file }: StoppedDeksFlags,
  use: (ask: AskDeks, operations: DekOperations) => Promise<T>,
  make: boolean,
): Promise<T> {
  const { config } = settingsOrFail(settingsOfDeks({ dataDir }));
  if (config.amnesia || config.backend === 'memory')
    throw new StartError('these settings keep nothing on disk, so no DEK would be kept');
  if (!make && !existsSync(join(config.dataDir, 'store', 'data.mdb')))
    throw new StartError(`there is no store in ${config.dataDir}`);
  const service = await openStopped(config, file);
  try {
    const requestPath = service.requestPathFor(peerUserAuthenticator(config.dekTenant, undefined, everyRole));
    const ask: AskDeks = async <Request, Answer>(operation: Operation<Request, Answer>, request: Request) =>
      requestPath<Request, Answer>({
        ...{ operation, parse: () => ({ ok: true, value: request }) as Result<Request> },
        ...{ body: noBody, credentials: { token: undefined, peer: () => operator } },
        ...{ deadlineWish: '5000', cancellation: createCancellation(), withinAllowance: () => true },
      });
    return await use(ask, service.dekOperations as DekOperations);
  } finally {
    await service.stop();
  }
}

async function openStopped(config: Config, file: string | undefined): Promise<Service> {
  const given = file === undefined ? undefined : readDekConfig(file, secretRule());
  try {
    // Limits are for callers who share a service: the operator has this one alone, and wants all of the DEKs.
    return await openService(
      { ...config, createRateLimit: 0, rateLimits: [] },
      {
        log: createLog('warn', config.telemetryService, process.stderr),
        withoutCapabilities: true,
        ...(given === undefined ? undefined : { rootKey: [givenRootKey(given.place, given.masterKey)] }),
        onAuditDeath: (cause) => {
          throw cause;
        },
      },
    );
  } finally {
    given?.masterKey.fill(0);
  }
}

const operator = { ...peerAt('unix'), uid: process.geteuid?.() };
const noBody = new Uint8Array(0);

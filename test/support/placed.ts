import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { algorithmNames } from '../../src/algorithms/registry.ts';
import { loadConfig } from '../../src/config/load.ts';
import { createCancellation } from '../../src/core/cancellation.ts';
import { peerAt } from '../../src/core/peer.ts';
import { ok, type Result } from '../../src/core/result.ts';
import type { Caller } from '../../src/core/scope.ts';
import { createLog } from '../../src/observe/log.ts';
import type { Operation } from '../../src/operations/operation.ts';
import type { Operations } from '../../src/operations/operations.ts';
import { openService } from '../../src/service.ts';
import { testEngineOptions } from './engines.ts';
import { placedCaller } from './placed-calls.ts';
import { generous, temporaryDirectory } from './service.ts';

type LifecycleOperations = Operations['lifecycle'];
type Verb = keyof LifecycleOperations;
type RequestOf<V extends Verb> =
  LifecycleOperations[V] extends Operation<infer Request, unknown> ? Request : never;
type AnswerOf<V extends Verb> =
  LifecycleOperations[V] extends Operation<never, infer Answer> ? Answer : never;

/** An agreement to anything. */
export const agrees = 'approval-token-123';

const none = new Uint8Array();

/** A whole service in this process, on its thread, for callers whom the test names. */
export async function openPlacedService(
  options: { readonly dataDir?: string; readonly env?: Readonly<Record<string, string>> } = {},
) {
  const dataDir = options.dataDir ?? temporaryDirectory();
  const env = {
    ...{ ...process.env, ...generous, KMS_DATA_DIR: dataDir, KMS_BIND: '127.0.0.1:0' },
    ...{ KMS_M33_DEV_IDENTITY: 'true', KMS_M33_DEV_APPROVALS: agrees },
    KMS_KEY_CACHE_BYTES: String(testEngineOptions.keyCacheBytes),
    ...options.env,
  };
  const loaded = loadConfig({
    ...{ argv: [], env, cores: 2, algorithmNames, readFile: (path: string) => readFileSync(path, 'utf8') },
  });
  assert.ok(loaded.ok, loaded.ok ? '' : loaded.problems.join('\n'));
  const lines: string[] = [];
  const log = createLog('info', 'test', { write: (text) => void lines.push(text) });
  const service = await openService(loaded.config, {
    ...{ log, inline: true, onAuditDeath: (cause: unknown) => assert.fail(String(cause)) },
  });

  function asked<V extends Verb>(
    verb: V,
    request: RequestOf<V>,
    caller: Caller = placedCaller,
  ): Promise<Result<AnswerOf<V>>> {
    const path = service.requestPathFor({ authenticate: () => ok(caller) });
    const answer = path({
      operation: service.operations.lifecycle[verb] as unknown as Operation<RequestOf<V>, AnswerOf<V>>,
      ...{ parse: () => ok(request), body: none, deadlineWish: undefined },
      ...{ credentials: { token: undefined, peer: () => peerAt('unix') } as never },
      ...{ cancellation: createCancellation(), withinAllowance: () => true },
    });
    return Promise.resolve(answer);
  }

  return { service, dataDir, lines, asked, stop: () => service.stop() };
}

export type PlacedService = Awaited<ReturnType<typeof openPlacedService>>;

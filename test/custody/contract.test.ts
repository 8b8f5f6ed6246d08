import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '../../src/core/clock.ts';
import { createSoftwareCustody } from '../../src/custody/software/index.ts';
import { createBatchCarrier } from '../../src/dispatch/crypto-dispatch.ts';
import { createForgottenRing } from '../../src/dispatch/forgotten.ts';
import { createGenerationCarrier, type GenerateCall } from '../../src/dispatch/generation.ts';
import { startWorkerPool } from '../../src/dispatch/pool.ts';
import type { GeneratedKey } from '../../src/engine/engine.ts';
import { Lane } from '../../src/queue/lane.ts';
import { custodyContract, type HomeUnderTest } from '../contracts/custody.ts';
import { secretNumbers, unseal } from '../faults/unseal.ts';
import { type AvailableEngine, availableEngines, testEngineOptions } from '../support/engines.ts';
import { MemoryHome } from '../support/memory-home.ts';

for (const engine of availableEngines())
  custodyContract(`software on ${engine.name}`, () => softwareHome(engine), {
    destroyEndsReferences: false,
    lacks: engine.create().description.lacks,
  });

custodyContract('of a home in memory', async () => new MemoryHome('vault'), {
  destroyEndsReferences: true,
  lacks: ['ed25519ph', 'mu', 'digest'],
});

/** With a worker of its own, as the service has them. */
async function softwareHome({ name, create }: AvailableEngine): Promise<HomeUnderTest> {
  const directory = mkdtempSync(join(tmpdir(), 'intaglio-custody-'));
  const path = join(directory, 'root.key');
  const engine = create();
  const root = engine.openRoot({ kind: 'file-create', path });
  const rootKey = readFileSync(path);
  const forgotten = createForgottenRing();
  const pool = await startWorkerPool(1, {
    engine: name,
    options: testEngineOptions,
    root,
    forgotten,
    niceness: 0,
  });
  const onCrash = (cause: unknown): never => {
    throw cause;
  };
  const limits = {
    perTenantCalls: 16,
    perTenantCostUs: Number.POSITIVE_INFINITY,
    totalCalls: 16,
    quantumUs: 1_000,
  };
  const generation = new Lane<GeneratedKey, GenerateCall>(
    {
      ...{ limits, jobBudgetUs: 1, soloBudgetUs: 1, jobMaxCalls: 1, runHereUpToUs: 0 },
      ...{ readyLeastUs: 0, readyMostUs: 0, queueTargetMs: 60_000 },
    },
    { carrier: createGenerationCarrier(pool, onCrash), clock: systemClock },
  );
  return {
    custody: createSoftwareCustody({ lane: generation, clock: systemClock }),
    carrier: createBatchCarrier(pool, onCrash),
    forget: (keyNumber) => engine.forget(keyNumber),
    async close() {
      await pool.close();
      rmSync(directory, { recursive: true });
    },
    privateNumbers: ({ sealed }, index, tenant, kid) =>
      secretNumbers(unseal(rootKey, tenant, `${kid}/${index}`, Buffer.from(sealed ?? []))),
  };
}

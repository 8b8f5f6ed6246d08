import { figure } from '../report/figures.ts';
import { timeEngine } from '../support/engine.ts';
import { closedLoop, mustAllSucceed } from '../support/measure.ts';
import type { Product } from '../support/product.ts';
import { signRequests } from '../support/requests.ts';
import type { Target } from '../support/target.ts';

export interface CpuCost {
  /** (server CPU for a request - floor) / engine. */
  readonly value: number;
  readonly requestUs: number;
  readonly detail: string;
}

const timing = { windowMs: 1_200, warmUpMs: 300 };
const engineMs = 300;

/** The cost of an Ed25519 request to the server, in times of the engine's own time; see the gate. */
export async function measureCpu(product: Product, floor: Target): Promise<CpuCost> {
  const requests = signRequests(await product.signer('ed25519'));
  const timed = await timeEngine({ engine: product.engine, keyTypes: ['ed25519'], windowMs: engineMs });
  const engineUs = timed?.times.ed25519?.signUs ?? Number.NaN;
  const floorUs = (await closedLoop(timing, floor, signRequests(await floor.signer('ed25519')))).cpuUs;
  const saturated = await closedLoop(timing, product, requests);
  mustAllSucceed(saturated, 'ed25519');
  const requestUs = saturated.cpuUs;
  return {
    value: (requestUs - floorUs) / engineUs,
    requestUs,
    detail: `request ${figure(requestUs)} us, uWebSockets.js ${figure(floorUs)}, engine ${figure(engineUs)}; ${figure(requestUs / engineUs)} times engine in all`,
  };
}

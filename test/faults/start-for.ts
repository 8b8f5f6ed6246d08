import type { TestContext } from 'node:test';
import { type ServiceOptions, type ServiceProcess, startService } from '../support/service.ts';

/** A service that ends with the test at the latest: a child that goes on keeps a failed test from ending. */
export async function startFor(context: TestContext, options: ServiceOptions = {}): Promise<ServiceProcess> {
  const service = await startService(options);
  context.after(() => service.kill());
  return service;
}

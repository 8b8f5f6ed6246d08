import { type Caller, scopes } from '../../src/core/scope.ts';

/** A caller of one place, with every scope. */
export const placedCaller: Caller = {
  ...{ tenant: 'acme', actor: 'cert:0123456789abcdef', scopes: new Set(scopes) },
  placement: { environments: ['prod'], planes: ['laptop'], module: 'orders' },
};

/** Its place, as calls name it. */
export const prodLaptop = { tenant: 'acme', environment: 'prod', plane: 'laptop' } as const;

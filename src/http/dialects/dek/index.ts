import { ownMember } from '../../../core/own-member.ts';
import { ok, refuse } from '../../../core/result.ts';
import type { DekOperations } from '../../../operations/deks/operations.ts';
import type { AnyEndpoint, Dialect } from '../../dialect.ts';
import { type DekEndpointName, dekEndpoints } from './endpoints.ts';
import { presentDekError } from './failures.ts';
import { describeDeks } from './openapi.ts';
import { dekRoutes } from './routes.ts';

/** The server answers these itself, where it is asked by a method that they have. */
const ofServer: ReadonlySet<string> = new Set([
  '/healthz',
  '/readyz',
  '/version',
  '/metrics',
  '/openapi.json',
]);

/** Data encryption keys over a Unix socket, as databases ask for them. */
export function dekDialect(operations: DekOperations): Dialect {
  const endpoints: Readonly<Record<DekEndpointName, AnyEndpoint>> = dekEndpoints(operations);
  return {
    owns: (path) => Object.hasOwn(dekRoutes, path),
    find(method, path) {
      const methods = ownMember(dekRoutes, path);
      if (ofServer.has(path)) return { ok: false, failure: { code: 'MethodNotAllowed', allow: 'GET, HEAD' } };
      if (methods === undefined) return refuse('NotFound', 'no such path');
      // The listener leaves out the body (RFC 9110 section 9.3.2).
      const name = ownMember(methods, method === 'head' ? 'get' : method);
      if (name !== undefined) return ok({ endpoint: endpoints[name], named: undefined, template: path });
      const allowed = Object.keys(methods).flatMap((each) => (each === 'get' ? ['get', 'head'] : [each]));
      return { ok: false, failure: { code: 'MethodNotAllowed', allow: allowed.join(', ').toUpperCase() } };
    },
    presentFailure: presentDekError,
    openapi: () => describeDeks((name) => endpoints[name].operation),
  };
}

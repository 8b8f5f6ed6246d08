import type { Config } from './config/load.ts';
import type { Dialect } from './http/dialect.ts';
import { dekDialect } from './http/dialects/dek/index.ts';
import { intaglioDialect } from './http/dialects/intaglio/index.ts';
import type { Service } from './service.ts';

/** The surfaces of a service, as its configuration has them. The first one has what is nobody's. */
export function mountedDialects(service: Service, config: Config): readonly [Dialect, ...Dialect[]] {
  const { operations, dekOperations } = service;
  return [
    intaglioDialect(operations, config),
    ...(dekOperations === undefined ? [] : [dekDialect(dekOperations)]),
  ];
}

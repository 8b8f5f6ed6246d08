import type { Config } from '../../config/load.ts';
import type { Service } from '../../service.ts';
import type { Dialect } from '../dialect.ts';
import { dekDialect } from './dek/index.ts';
import { intaglioDialect } from './intaglio/index.ts';

/** The surfaces of a service, as its configuration has them. The first one has what is nobody's. */
export function mountedDialects(service: Service, config: Config): readonly [Dialect, ...Dialect[]] {
  const { operations, dekOperations } = service;
  return [
    intaglioDialect(operations, config),
    ...(dekOperations === undefined ? [] : [dekDialect(dekOperations)]),
  ];
}

import {
  allowedAlgorithms,
  configuredRotationDays,
  placedUsesPerDay,
  rotationGraceMs,
} from './assemble/calls.ts';
import type { Config } from './config/load.ts';
import { manifest } from './core/own-package.ts';
import type { Dialect } from './http/dialect.ts';
import { dekDialect } from './http/dialects/dek/index.ts';
import { intaglioDialect } from './http/dialects/intaglio/index.ts';
import { hsmAvailable } from './http/dialects/kms-v1/health.ts';
import { kmsV1Dialect } from './http/dialects/kms-v1/index.ts';
import { buildVersion } from './observe/build-version.ts';
import { KmsV1Metrics } from './observe/series/kms-v1-metrics.ts';
import { typeOfAlgorithm } from './operations/lifecycle/names.ts';
import { usualRotationDays } from './operations/lifecycle/parts.ts';
import type { Operations } from './operations/operations.ts';
import type { Service } from './service.ts';

/** The wire formats of a service: the product's own, and those that its settings ask for. Made anew at a reload. */
export function surfacesOf(
  service: Service,
): (operations: Operations, config: Config) => readonly [Dialect, ...Dialect[]] {
  const kmsV1 = service.settings.now.m33 ? kmsV1Of(service) : undefined;
  return (operations, config) => {
    const { dekOperations } = service;
    return [
      intaglioDialect(operations, config),
      ...(kmsV1 === undefined ? [] : [kmsV1(operations, config)]),
      ...(dekOperations === undefined ? [] : [dekDialect(dekOperations)]),
    ];
  };
}

/** Its counts go on over reloads. */
function kmsV1Of(service: Service): (operations: Operations, config: Config) => Dialect {
  const { health, settings } = service;
  const readiness = () => health.readiness();
  const metrics = new KmsV1Metrics({
    ...{ environment: settings.now.environment, version: buildVersion(manifest.version) },
    hsmAvailable: () => hsmAvailable(readiness()),
    keys: () =>
      service.keyStates().map(({ alg, state, count }) => ({
        ...{ keyType: typeOfAlgorithm(alg), keyState: state, count },
      })),
  });
  return (operations, config) =>
    kmsV1Dialect(operations, {
      ...{ corsOrigins: config.corsOrigins, detailWrap: config.m33DetailWrap },
      rotationDays: { ...usualRotationDays, ...configuredRotationDays(config) },
      ...{ graceMs: rotationGraceMs(config), usesPerDay: placedUsesPerDay(config) },
      ...{ allowedAlgorithms: allowedAlgorithms(config), readiness, metrics },
    });
}

import { registry } from '../../../algorithms/registry.ts';
import { approvableOperations } from '../../../core/approvals.ts';
import { standardSchemeName, typeOfAlgorithm } from '../../../operations/lifecycle/names.ts';

/** What holds on this surface, as GET /kms/v1/config shows it. */
export interface ConfigFacts {
  /** Days after which keys of these algorithms get a new version. */
  readonly rotationDays: Readonly<Record<string, number>>;
  readonly graceMs: number;
  /** Signatures and encryptions by one key in a day of UTC; Infinity is no limit. */
  readonly usesPerDay: number;
  /** Canonical names of the algorithms that may be created and used. */
  readonly allowedAlgorithms: ReadonlySet<string>;
}

/** These need one where the access policy of their key says so. */
const usesOfKeys: ReadonlySet<string> = new Set(['lifecycle_sign', 'lifecycle_encrypt', 'lifecycle_decrypt']);

const dayMs = 86_400_000;

/** In the words of approvals: changes that need one, whatever the access policy of a key. */
const dualAuthorization = Object.entries(approvableOperations)
  .filter(([, { name }]) => !usesOfKeys.has(name))
  .map(([word]) => word);

/** GET /kms/v1/config. Days are durations of ISO 8601. */
export function presentConfig({ rotationDays, graceMs, usesPerDay, allowedAlgorithms }: ConfigFacts) {
  const schemes = registry
    .filter(({ name, kind, components }) => {
      const offered = kind === 'signature' || kind === 'aead';
      return offered && components.length === 1 && allowedAlgorithms.has(name);
    })
    .flatMap(({ components: [{ schemes }] }) => schemes.map(({ alg }) => standardSchemeName(alg)));
  return {
    key_rotation_schedule: Object.fromEntries(
      Object.entries(rotationDays).map(([alg, days]) => [typeOfAlgorithm(alg), `P${days}D`]),
    ),
    rotation_grace_period: `P${Math.round(graceMs / dayMs)}D`,
    allowed_algorithms: [...new Set(schemes)],
    max_usage_per_day_default: Number.isFinite(usesPerDay) ? usesPerDay : null,
    dual_authorization_required_operations: dualAuthorization,
  };
}

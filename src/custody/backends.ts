import type { Clock } from '../core/clock.ts';
import { type Refused, refuse } from '../core/result.ts';
import { homeAway } from '../dispatch/crypto-dispatch.ts';
import type { Home, HomeContact } from './custody.ts';

/** How old the knowledge is by which a signature was checked, where the backend of its key can be away. */
export interface CacheAge {
  /** Milliseconds since the last contact with the backend; since our start, where there has been none. */
  readonly ageMs: number;
  /** The age is more than KMS_VERIFY_CACHE_TTL_MS, or there has been no contact since our start. */
  readonly stale: boolean;
}

/** The backends of keys, as operations see them. Software is always there. */
export interface Backends {
  /** StoreUnavailable, where work for keys of this backend would come to nothing now. */
  refusal(backend: string): Refused | undefined;
  /** Undefined of a backend that cannot be away. */
  cacheAge(backend: string): CacheAge | undefined;
  /** The refusal of a check by knowledge so old; undefined where it is taken. */
  staleRefusal(age: CacheAge): Refused | undefined;
  /** Backends that are there, of the attestation class of this one, and may hold the same keys. */
  standIns(backend: string): readonly string[];
}

/** Asked each time: a reload may change them. */
export interface VerifyCacheSettings {
  readonly ttlMs: number;
  /** True: a check beyond `ttlMs` is refused; otherwise its answer says that it is stale. */
  readonly refuseStale: boolean;
}

/** Told of each check by a key whose backend is away. */
export type TellCacheHit = (backend: string, stale: boolean) => void;

export interface BackendsParts {
  readonly homes: readonly Pick<Home, 'custody' | 'contact'>[];
  readonly clock: Pick<Clock, 'monotonicMs'>;
  readonly settings: VerifyCacheSettings;
  readonly cacheHit: TellCacheHit;
}

const tooOld = refuse(
  'StoreUnavailable',
  'the backend of this key has not answered for longer than its public keys are trusted',
  1_000,
);

export function createBackends({ homes, clock, settings, cacheHit }: BackendsParts): Backends {
  const startedAtMs = clock.monotonicMs();
  const byName = new Map(homes.map((home) => [home.custody.backend, home]));
  const isUp = (contact: HomeContact | undefined) => contact === undefined || contact.up;
  return {
    refusal: (backend) => (isUp(byName.get(backend)?.contact) ? undefined : homeAway),
    cacheAge(backend) {
      const contact = byName.get(backend)?.contact;
      if (contact === undefined) return undefined;
      const { lastContactAtMs } = contact;
      const never = !Number.isFinite(lastContactAtMs);
      const ageMs = Math.max(0, clock.monotonicMs() - (never ? startedAtMs : lastContactAtMs));
      const age = { ageMs: Math.floor(ageMs), stale: never || ageMs > settings.ttlMs };
      if (!contact.up) cacheHit(backend, age.stale);
      return age;
    },
    staleRefusal: ({ stale }) => (stale && settings.refuseStale ? tooOld : undefined),
    standIns(backend) {
      const own = byName.get(backend)?.custody.attestationClass;
      return homes
        .filter(
          ({ custody, contact }) =>
            custody.backend !== backend && custody.attestationClass === own && isUp(contact),
        )
        .map(({ custody }) => custody.backend);
    },
  };
}

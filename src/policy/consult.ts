import type { HybridMode } from '../core/hybrid-mode.ts';
import type { Caller } from '../core/scope.ts';
import { parseKid } from '../keys/kid.ts';
import type { Decision, Policy, PolicyQuestion } from './policy.ts';

/** What a call is about: the kids as they were given, or, where it names no key, an algorithm and a purpose. */
export type Consulted = readonly string[] | { readonly alg: string; readonly purpose?: string };

/** What policy says of one call, with each of its keys. */
export interface Consultation {
  /** The call has nothing that is allowed. */
  readonly denied: boolean;
  /** Whether policy allows the call with this key; the id has no `#vN`. */
  allows(keyId: string): boolean;
  /** The weakest mode that a verification with these kids may ask for; undefined where policy does not say. */
  modeOf(kids: readonly string[]): HybridMode | undefined;
  /** Uses of a key in a day; Infinity where policy does not say. */
  usesPerDay(keyId: string): number;
}

/** From the weakest. `pq_only` is not passed by what passes `and`, but asks for more than a classical signature. */
const strength: Readonly<Record<HybridMode, number>> = { or: 0, and: 1, pq_only: 2 };

export function isWeaker(asked: HybridMode, demanded: HybridMode): boolean {
  return strength[asked] < strength[demanded];
}

/** One question for each key of a call. Without a promise where each is decided at once. */
export function consult(
  policy: Policy,
  operation: string,
  { tenant, actor }: Caller,
  about: Consulted,
): Consultation | Promise<Consultation> {
  const who = { tenant, actor, operation };
  const ids = 'alg' in about ? [''] : [...new Set(about.map(idOf))];
  const questions =
    'alg' in about ? [{ ...who, kid: '', purpose: '', ...about }] : ids.map((id) => ofKey(who, id));
  const decisions = questions.map((question) => policy.decide(question));
  return decisions.some((decision) => decision instanceof Promise)
    ? Promise.all(decisions).then((decided) => consultationOf(ids, decided, 'alg' in about))
    : consultationOf(ids, decisions as Decision[], 'alg' in about);
}

/** `chosenHere`: the call names no key, so that the one decision is on those that the service chooses for it. */
function consultationOf(
  ids: readonly string[],
  decided: readonly Decision[],
  chosenHere: boolean,
): Consultation {
  const known = new Map(ids.map((id, index) => [id, decided[index] as Decision]));
  const byId = chosenHere ? { get: () => decided[0] } : known;
  return {
    // A call that names no key and no algorithm is asked about as well; nothing named at all denies nothing.
    denied: decided.length > 0 && decided.every(({ allow }) => !allow),
    allows: (keyId) => byId.get(keyId)?.allow ?? false,
    modeOf(kids) {
      const modes = kids.flatMap((kid) => byId.get(idOf(kid))?.mode ?? []);
      return modes.length === 0
        ? undefined
        : modes.reduce((one, other) => (isWeaker(one, other) ? other : one));
    },
    usesPerDay: (keyId) => byId.get(keyId)?.limits?.usesPerDay ?? Number.POSITIVE_INFINITY,
  };
}

function idOf(kid: string): string {
  const hash = kid.indexOf('#');
  return hash < 0 ? kid : kid.slice(0, hash);
}

/** Text that is no kid is asked about as it is: it finds no key, and a policy may deny it before that. */
function ofKey(who: Pick<PolicyQuestion, 'tenant' | 'actor' | 'operation'>, id: string): PolicyQuestion {
  const kid = parseKid(id);
  return { ...who, kid: id, purpose: kid?.purpose ?? '', alg: kid?.algorithm.name ?? '' };
}

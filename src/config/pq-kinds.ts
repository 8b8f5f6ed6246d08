import { parseRfc3339 } from '../core/clock.ts';
import { type PqPhase, pqPhases } from '../core/hybrid-mode.ts';
import { isName } from '../core/name.ts';
import type { Kind } from './kinds.ts';
import { entriesOf } from './limit-kinds.ts';

/** Phases by tenant, or by `tenant/purpose`. */
export const phasesByTenant: Kind<Readonly<Record<string, PqPhase>>> = {
  accepts: `tenant=phase or tenant/purpose=phase separated by commas, phases ${pqPhases.join(', ')}`,
  parse(given) {
    const entries = entriesOf(given);
    if (entries === undefined) return undefined;
    const phases: Record<string, PqPhase> = {};
    for (const [name, text] of entries) {
      const phase = pqPhases.find((candidate) => candidate === text);
      const parts = name.split('/');
      if (phase === undefined || parts.length > 2 || !parts.every(isName)) return undefined;
      if (Object.hasOwn(phases, name)) return undefined;
      phases[name] = phase;
    }
    return phases;
  },
  format: (phases) =>
    Object.entries(phases)
      .map(([name, phase]) => `${name}=${phase}`)
      .join(','),
};

/** A moment in milliseconds since 1970, or none. */
export const optionalMoment: Kind<'none' | number> = {
  accepts: 'none, or a date and time of RFC 3339 such as 2027-01-31T00:00:00Z',
  parse: (given) => (given === 'none' ? given : typeof given === 'string' ? parseRfc3339(given) : undefined),
  format: (value) => (value === 'none' ? value : new Date(value).toISOString()),
};

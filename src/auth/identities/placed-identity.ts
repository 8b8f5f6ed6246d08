import { hash } from 'node:crypto';
import type { CertificateMapping, IdentityMember } from '../../config/identity/kinds.ts';
import { isName } from '../../core/name.ts';
import type { PeerCertificate } from '../../core/peer.ts';
import { type CallerPlacement, environments, planes } from '../../core/scope.ts';

/** A proof's own words on whose it is. A member that it does not speak of is undefined. */
export interface PlacedIdentity {
  readonly tenant: string;
  readonly environments: Names | undefined;
  readonly planes: Names | undefined;
  readonly module: string | undefined;
}

type Names = CallerPlacement['environments'];

/** The pseudonym of whoever has this name in a tenant: `id:` and 16 hexadecimal digits. */
export function pseudonymOf(tenant: string, name: string): string {
  return `id:${hash('sha256', JSON.stringify([tenant, name])).slice(0, 16)}`;
}

/** The identity that both proofs leave; undefined where they contradict each other. */
export function agreed(one: PlacedIdentity, other: PlacedIdentity | undefined): PlacedIdentity | undefined {
  if (other === undefined) return one;
  const modules = new Set([one.module, other.module].filter((name) => name !== undefined));
  const places = common(one.environments, other.environments);
  const parts = common(one.planes, other.planes);
  if (one.tenant !== other.tenant || modules.size > 1) return undefined;
  if (places?.length === 0 || parts?.length === 0) return undefined;
  return { tenant: one.tenant, environments: places, planes: parts, module: [...modules][0] };
}

function common(one: Names | undefined, other: Names | undefined): Names | undefined {
  if (one === undefined || one === 'all') return other ?? one;
  if (other === undefined || other === 'all') return one;
  return one.filter((name) => other.includes(name));
}

/** The identity that a certificate's names say by the first mapping that fits. None where they say several. */
export function identityIn(
  certificate: Pick<PeerCertificate, 'uris' | 'dns' | 'subject'>,
  mappings: readonly CertificateMapping[],
): PlacedIdentity | undefined {
  for (const mapping of mappings) {
    const found = readings(certificate, mapping).map(identityOf);
    const [first] = found;
    if (first === undefined) continue;
    const text = JSON.stringify(first);
    return found.every((each) => JSON.stringify(each) === text) ? first : undefined;
  }
  return undefined;
}

type Reading = Readonly<Record<IdentityMember, string>>;

function readings(
  { uris, dns, subject }: Pick<PeerCertificate, 'uris' | 'dns' | 'subject'>,
  mapping: CertificateMapping,
): readonly Reading[] {
  if (mapping.from === 'subject') return subjectReadings(subject, mapping.attributes);
  return (mapping.from === 'uri' ? uris : dns).flatMap((name) => {
    const groups = mapping.pattern.exec(name)?.groups;
    if (groups === undefined) return [];
    // Names of DNS are the same in capital letters (RFC 4343).
    const text = (member: IdentityMember) =>
      mapping.from === 'dns' ? (groups[member] as string).toLowerCase() : (groups[member] as string);
    return [
      {
        ...{ tenant: text('tenant'), environment: text('environment') },
        ...{ plane: text('plane'), module: text('module') },
      },
    ];
  });
}

/** Several attributes of one kind are several environments or planes; a second tenant or module makes it none. */
function subjectReadings(
  subject: string,
  attributes: Readonly<Record<IdentityMember, string>>,
): readonly Reading[] {
  const found = attributesOf(subject);
  const [tenant, environment, plane, module] = (['tenant', 'environment', 'plane', 'module'] as const).map(
    (member) => found.filter(([name]) => name === attributes[member]).map(([, value]) => value),
  ) as [string[], string[], string[], string[]];
  if (tenant.length !== 1 || module.length !== 1 || environment.length === 0 || plane.length === 0) return [];
  return [
    {
      ...{ tenant: tenant[0] as string, module: module[0] as string },
      ...{ environment: environment.join('-'), plane: plane.join('-') },
    },
  ];
}

/** RFC 4514. What is escaped stays so, and is no name of a tenant or module. */
function attributesOf(subject: string): readonly (readonly [name: string, value: string])[] {
  const pairs = subject.match(/(?:[^,+\\]|\\.)+/g) ?? [];
  return pairs.map((pair) => {
    const at = pair.indexOf('=');
    return [pair.slice(0, at).trim(), pair.slice(at + 1).trim()] as const;
  });
}

/** Undefined where a member is not of its form. */
function identityOf({ tenant, environment, plane, module }: Reading): PlacedIdentity | undefined {
  const places = namesOf(environment.split('-'), environments);
  const parts = namesOf(plane.split('-'), planes);
  if (!isName(tenant) || !isName(module) || places === undefined || parts === undefined) return undefined;
  return { tenant, environments: places, planes: parts, module };
}

function namesOf(given: readonly unknown[], known: readonly string[]): Names | undefined {
  if (given.length === 1 && given[0] === 'all') return 'all';
  const names = known.filter((name) => given.includes(name));
  return names.length === given.length && names.length > 0 ? names : undefined;
}

/** The identity in a token's claims `tenant_id`, `environment`, `plane` and `module` or `module_id`. None where one is not of its form. */
export function identityClaimed(claims: Readonly<Record<string, unknown>>): PlacedIdentity | undefined {
  const { tenant_id: tenant, environment, plane, module_id: moduleId, module = moduleId } = claims;
  const places = claimed(environment, environments);
  const parts = claimed(plane, planes);
  if (typeof tenant !== 'string' || !isName(tenant)) return undefined;
  if (module !== undefined && (typeof module !== 'string' || !isName(module))) return undefined;
  if (moduleId !== undefined && moduleId !== module) return undefined;
  if (places === null || parts === null) return undefined;
  return { tenant, environments: places, planes: parts, module };
}

/** Null: not of its form. */
function claimed(value: unknown, known: readonly string[]): Names | undefined | null {
  if (value === undefined) return undefined;
  return namesOf(Array.isArray(value) ? value : [value], known) ?? null;
}

import { type Static, type TSchema, Type } from '@sinclair/typebox';
import { TypeCompiler, ValueErrorType } from '@sinclair/typebox/compiler';
import { LineCounter, parseDocument } from 'yaml';
import { hybridModes } from '../core/hybrid-mode.ts';
import { isName } from '../core/name.ts';
import { type Scope, scopes } from '../core/scope.ts';
import { tokenAlgorithms } from './kinds.ts';
import { isLoopback } from './listen-kinds.ts';

/**
 * The file that `KMS_POLICY_FILE` names: who gets which capability without one (`identities:`, `issuers:`), and what a
 * capability is allowed beyond itself (`rules:`). YAML 1.2; docs/policy.md has every member.
 */

/** More is a mistake: each rule is looked at for each call. */
const maxRules = 1_000;
const maxFileCharacters = 1_048_576;
/** A text, or its beginning and `*`. */
const patternSchema = Type.String({ pattern: '^[ -)+-~]{0,255}\\*?$', minLength: 1 });
const patternsSchema = Type.Union([patternSchema, Type.Array(patternSchema, { minItems: 1, maxItems: 64 })]);

const closed = { additionalProperties: false };
const optional = <Schema extends TSchema>(schema: Schema) => Type.Optional(schema);

const ruleSchema = Type.Object(
  {
    effect: Type.Union([Type.Literal('allow'), Type.Literal('deny')]),
    when: optional(
      Type.Object(
        {
          tenant: optional(patternsSchema),
          actor: optional(patternsSchema),
          operation: optional(patternsSchema),
          kid: optional(patternsSchema),
          purpose: optional(patternsSchema),
          alg: optional(patternsSchema),
        },
        closed,
      ),
    ),
    mode: optional(Type.Union(hybridModes.map((mode) => Type.Literal(mode)))),
    limits: optional(
      Type.Object({ uses_per_day: Type.Integer({ minimum: 1, maximum: Number.MAX_SAFE_INTEGER }) }, closed),
    ),
    reason: optional(Type.String({ maxLength: 512 })),
  },
  closed,
);

const issuerSchema = Type.Object(
  {
    issuer: Type.String({ minLength: 1, maxLength: 512 }),
    audience: Type.String({ minLength: 1, maxLength: 512 }),
    algorithms: Type.Array(Type.Union(tokenAlgorithms.map((alg) => Type.Literal(alg))), {
      minItems: 1,
      uniqueItems: true,
    }),
    jwks_url: optional(Type.String({ pattern: '^https?://', maxLength: 2_048 })),
    jwks_file: optional(Type.String({ minLength: 1, maxLength: 4_096 })),
  },
  closed,
);

const identitySchema = Type.Object(
  {
    name: Type.String({ pattern: '^[a-z0-9][a-z0-9._-]{0,62}$' }),
    when: Type.Union([
      Type.Object({ spiffe: patternsSchema }, closed),
      Type.Object({ dns: patternsSchema }, closed),
      Type.Object({ cert_sha256: patternsSchema }, closed),
      Type.Object(
        {
          issuer: Type.String({ minLength: 1, maxLength: 512 }),
          subject: optional(patternsSchema),
          claims: optional(
            Type.Record(Type.String({ pattern: '^[A-Za-z0-9_.:/-]{1,128}$' }), patternsSchema, {
              maxProperties: 16,
            }),
          ),
        },
        closed,
      ),
      Type.Object({ uid: Type.Integer({ minimum: 0, maximum: 4_294_967_294 }) }, closed),
      Type.Object({ gid: Type.Integer({ minimum: 0, maximum: 4_294_967_294 }) }, closed),
    ]),
    grant: Type.Object(
      {
        tenant: Type.String(),
        scopes: Type.Array(Type.Union(scopes.map((scope) => Type.Literal(scope))), {
          minItems: 1,
          uniqueItems: true,
        }),
        ttl_s: Type.Integer({ minimum: 1, maximum: 86_400 }),
        caveats: optional(Type.Array(Type.String({ minLength: 1, maxLength: 512 }), { maxItems: 16 })),
      },
      closed,
    ),
  },
  closed,
);

const fileSchema = Type.Object(
  {
    issuers: optional(Type.Array(issuerSchema, { maxItems: 64 })),
    identities: optional(Type.Array(identitySchema, { maxItems: maxRules })),
    rules: optional(Type.Array(ruleSchema, { maxItems: maxRules })),
    default: optional(Type.Union([Type.Literal('allow'), Type.Literal('deny')])),
  },
  closed,
);
const fileShape = TypeCompiler.Compile(fileSchema);

type Written = Static<typeof fileSchema>;
type WrittenRule = Static<typeof ruleSchema>;
type WrittenIssuer = Static<typeof issuerSchema>;
type WrittenIdentity = Static<typeof identitySchema>;

type RuleMember = 'tenant' | 'actor' | 'operation' | 'kid' | 'purpose' | 'alg';

export interface PolicyRule {
  readonly effect: 'allow' | 'deny';
  readonly when: Readonly<Partial<Record<RuleMember, readonly string[]>>>;
  readonly mode?: (typeof hybridModes)[number];
  readonly usesPerDay?: number;
  readonly reason?: string;
}

export interface PolicyRules {
  readonly rules: readonly PolicyRule[];
  /** The decision where no rule fits; `deny` when the file does not say. */
  readonly otherwise: 'allow' | 'deny';
}

export interface TokenIssuer {
  readonly issuer: string;
  readonly audience: string;
  readonly algorithms: readonly string[];
  readonly keys: { readonly url: string } | { readonly file: string };
}

/** Evidence that an identity asks for. */
export type IdentityCondition =
  | {
      readonly kind: 'certificate';
      readonly member: 'spiffe' | 'dns' | 'sha256';
      readonly patterns: readonly string[];
    }
  | {
      readonly kind: 'jwt';
      readonly issuer: string;
      readonly subject: readonly string[];
      readonly claims: Readonly<Record<string, readonly string[]>>;
    }
  | { readonly kind: 'peer'; readonly member: 'uid' | 'gid'; readonly id: number };

export interface Identity {
  readonly name: string;
  readonly when: IdentityCondition;
  readonly grant: {
    readonly tenant: string;
    readonly scopes: readonly Scope[];
    readonly ttlMs: number;
    readonly caveats: readonly string[];
  };
}

export interface PolicyFile {
  readonly issuers: readonly TokenIssuer[];
  readonly identities: readonly Identity[];
  /** Undefined where the file has no `rules:`: nothing is refused beyond capabilities. */
  readonly rules: PolicyRules | undefined;
}

export type ReadPolicyFile =
  | { readonly ok: true; readonly file: PolicyFile }
  /** One line each, with the place; never a value. */
  | { readonly ok: false; readonly problems: readonly string[] };

/** Anything unknown, doubled or contradictory refuses the file. `caveatIsKnown` says whether a caveat has a form that holds. */
export function parsePolicyFile(text: string, caveatIsKnown: (caveat: string) => boolean): ReadPolicyFile {
  if (text.length > maxFileCharacters) return { ok: false, problems: ['the file has more than 1 MiB'] };
  const lineCounter = new LineCounter();
  const document = parseDocument(text, { lineCounter, uniqueKeys: true, strict: true });
  const [broken] = [...document.errors, ...document.warnings];
  if (broken !== undefined)
    return {
      ok: false,
      problems: [`line ${lineCounter.linePos(broken.pos[0]).line}: not valid YAML (${broken.code})`],
    };
  let value: unknown;
  try {
    // No alias is resolved, so that a small file stays a small value.
    value = document.toJS({ maxAliasCount: 0 }) ?? {};
  } catch {
    return { ok: false, problems: ['aliases are not read'] };
  }
  if (!fileShape.Check(value)) return { ok: false, problems: [shapeProblem(value)] };
  const written = value as Written;
  const problems = contradictions(written, caveatIsKnown);
  if (problems.length > 0) return { ok: false, problems };
  return {
    ok: true,
    file: {
      issuers: (written.issuers ?? []).map(issuerOf),
      identities: (written.identities ?? []).map(identityOf),
      rules:
        written.rules === undefined
          ? undefined
          : { rules: written.rules.map(ruleOf), otherwise: written.default ?? 'deny' },
    },
  };
}

function shapeProblem(value: unknown): string {
  const error = fileShape.Errors(value).First();
  const place = (error?.path ?? '').slice(1).replaceAll('/', '.') || 'the file';
  return error?.type === ValueErrorType.ObjectAdditionalProperties
    ? `${place} is not known`
    : `${place} is missing or has the wrong type or form`;
}

function contradictions(written: Written, caveatIsKnown: (caveat: string) => boolean): string[] {
  const problems: string[] = [];
  const issuers = new Set<string>();
  for (const [n, { issuer, jwks_url: url, jwks_file: file }] of (written.issuers ?? []).entries()) {
    if ((url === undefined) === (file === undefined))
      problems.push(`issuers.${n} needs jwks_url or jwks_file`);
    if (url !== undefined && !isPrivate(url))
      problems.push(`issuers.${n}.jwks_url needs https, or http on loopback`);
    if (issuers.has(issuer)) problems.push(`issuers.${n}.issuer is there twice`);
    issuers.add(issuer);
  }
  const names = new Set<string>();
  for (const [n, { name, when, grant }] of (written.identities ?? []).entries()) {
    if (names.has(name)) problems.push(`identities.${n}.name is there twice`);
    names.add(name);
    if ('issuer' in when && !issuers.has(when.issuer))
      problems.push(`identities.${n}.when.issuer is not among issuers`);
    if (!isName(grant.tenant)) problems.push(`identities.${n}.grant.tenant has not the form of a tenant`);
    for (const [m, caveat] of (grant.caveats ?? []).entries())
      if (!caveatIsKnown(caveat)) problems.push(`identities.${n}.grant.caveats.${m} is not a caveat`);
  }
  if (written.default !== undefined && written.rules === undefined)
    problems.push('default says nothing without rules');
  return problems;
}

/** Whoever is on the way of plain HTTP could put keys of their own in, and so be anybody. */
function isPrivate(url: string): boolean {
  if (!URL.canParse(url)) return false;
  const { protocol, hostname } = new URL(url);
  return protocol === 'https:' || isLoopback(hostname.replace(/^\[|\]$/g, ''));
}

const listOf = (patterns: string | readonly string[]): readonly string[] =>
  typeof patterns === 'string' ? [patterns] : patterns;

function ruleOf({ effect, when = {}, mode, limits, reason }: WrittenRule): PolicyRule {
  const members = Object.entries(when).map(([name, patterns]) => [name, listOf(patterns)]);
  return {
    effect,
    when: Object.fromEntries(members) as PolicyRule['when'],
    ...(mode === undefined ? undefined : { mode }),
    ...(limits === undefined ? undefined : { usesPerDay: limits.uses_per_day }),
    ...(reason === undefined ? undefined : { reason }),
  };
}

function issuerOf({
  issuer,
  audience,
  algorithms,
  jwks_url: url,
  jwks_file: file,
}: WrittenIssuer): TokenIssuer {
  return { issuer, audience, algorithms, keys: url === undefined ? { file: file as string } : { url } };
}

function identityOf({ name, when, grant }: WrittenIdentity): Identity {
  const { tenant, ttl_s: ttlS, caveats = [] } = grant;
  return {
    name,
    when: conditionOf(when),
    grant: { tenant, scopes: grant.scopes, ttlMs: ttlS * 1_000, caveats },
  };
}

function conditionOf(when: WrittenIdentity['when']): IdentityCondition {
  if ('issuer' in when) {
    const { issuer, subject = '*', claims = {} } = when;
    const lists = Object.entries(claims).map(([name, patterns]) => [name, listOf(patterns)]);
    return { kind: 'jwt', issuer, subject: listOf(subject), claims: Object.fromEntries(lists) };
  }
  if ('uid' in when) return { kind: 'peer', member: 'uid', id: when.uid };
  if ('gid' in when) return { kind: 'peer', member: 'gid', id: when.gid };
  if ('spiffe' in when) return { kind: 'certificate', member: 'spiffe', patterns: listOf(when.spiffe) };
  if ('dns' in when) return { kind: 'certificate', member: 'dns', patterns: listOf(when.dns) };
  return { kind: 'certificate', member: 'sha256', patterns: listOf(when.cert_sha256) };
}

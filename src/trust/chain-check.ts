import { BoundedCache } from '../core/bounded-cache.ts';
import { ok, type Result } from '../core/result.ts';
import type { StoreEntry } from '../store/store.ts';
import { type AnchorPlace, globalTenant, holdsAt, sha256Hex, type TrustAnchor } from './anchor-records.ts';
import { type Certificate, readCertificate } from './certificate.ts';
import { type RevocationList, readRevocationList, revocationIn } from './crl.ts';
import { type ChainPurpose, type PathVerdict, validatePath } from './path.ts';

export interface CheckedChain {
  readonly tenant: string;
  /** Only anchors that are trusted there count. */
  readonly place: AnchorPlace;
  readonly certificate: Certificate;
  /** Authorities between, in any order. */
  readonly given: readonly Certificate[];
  readonly purpose?: ChainPurpose | undefined;
  /** UTC, milliseconds since 1970. */
  readonly atMs: number;
}

export interface CheckedPath {
  readonly verdict: PathVerdict;
  /** The anchor at the end of a valid path. */
  readonly anchor: TrustAnchor | undefined;
  /** A list in force says of every certificate of a valid path but the anchor's that it is not revoked. */
  readonly revocationChecked: boolean;
}

/** The place where anchors and their lists are kept. */
export interface AnchorSource {
  /** Those of this subject, as ComparedName spells it. */
  named(tenant: string, comparedSubject: string): Promise<Result<readonly TrustAnchor[]>>;
  /** DER of its list. */
  listOf(anchor: TrustAnchor): Promise<Result<StoreEntry | undefined>>;
}

/** Reading one takes a millisecond, and some 15 KB of memory. */
const parsedAnchors = new BoundedCache<string, Certificate>(512);
/** 20,000 serial numbers are 3 MB. */
const parsedLists = new BoundedCache<string, RevocationList>(8);

/** Everything is found by names, so that the number of anchors does not matter. */
export async function checkChain(chain: CheckedChain, source: AnchorSource): Promise<Result<CheckedPath>> {
  const { certificate, given, place, purpose, atMs } = chain;
  const found = await anchorsFor(chain, source);
  if (!found.ok) return found;
  const lists = await listsOf(found.value, source);
  if (!lists.ok) return lists;
  const trusted = found.value.filter(({ anchor }) => holdsAt(anchor.places, place));
  const checked = new Set<string>();
  const verdict = validatePath(
    certificate,
    given,
    trusted.map((each) => each.certificate),
    {
      ...{ atMs, purpose },
      revocation(each, issuer) {
        const known = lists.value.get(authorityOf(issuer));
        if (known === undefined) return undefined;
        const problems = known.map((list) =>
          list === 'unknown' ? 'revocation_unknown' : revocationIn(list, each, atMs),
        );
        if (problems.includes('revoked')) return 'revoked';
        if (!problems.includes(undefined)) return 'revocation_unknown';
        checked.add(each.sha256);
        return undefined;
      },
    },
  );
  if (!verdict.valid) return ok({ verdict, anchor: undefined, revocationChecked: false });
  const last = verdict.path.at(-1);
  return ok({
    verdict,
    anchor: trusted.find((each) => each.certificate.sha256 === last?.sha256)?.anchor,
    revocationChecked: verdict.path.slice(0, -1).every(({ sha256 }) => checked.has(sha256)),
  });
}

interface ParsedAnchor {
  readonly anchor: TrustAnchor;
  readonly certificate: Certificate;
}

/** The anchors whose names are in the chain, of the tenant first. */
async function anchorsFor(
  { tenant, certificate, given }: CheckedChain,
  { named }: AnchorSource,
): Promise<Result<readonly ParsedAnchor[]>> {
  const names = new Set([certificate, ...given].flatMap(({ subject, issuer }) => [subject, issuer]));
  const anchors: ParsedAnchor[] = [];
  for (const comparedSubject of new Set([...names].map(({ compared }) => compared))) {
    for (const owner of new Set([tenant, globalTenant])) {
      const found = await named(owner, comparedSubject);
      if (!found.ok) return found;
      for (const anchor of found.value) {
        const parsed = parsedAnchor(anchor);
        if (parsed !== undefined) anchors.push({ anchor, certificate: parsed });
      }
    }
  }
  return ok(anchors);
}

function parsedAnchor({ certificate: { sha256 }, der }: TrustAnchor): Certificate | undefined {
  const known = parsedAnchors.get(sha256) ?? readCertificate(der);
  if (known !== undefined) parsedAnchors.set(sha256, known);
  return known;
}

/** An authority has one name and one key, and may have several certificates: its list is about what it issued under each. */
function authorityOf({ subject, spkiSha256 }: Certificate): string {
  return `${spkiSha256} ${subject.compared}`;
}

/** `unknown`: there was a list, and what is stored is not it. */
async function listsOf(
  anchors: readonly ParsedAnchor[],
  source: AnchorSource,
): Promise<Result<ReadonlyMap<string, readonly (RevocationList | 'unknown')[]>>> {
  const lists = new Map<string, (RevocationList | 'unknown')[]>();
  for (const { anchor, certificate } of anchors) {
    if (anchor.list === undefined) continue;
    const list = await listOf(anchor, anchor.list.sha256, source);
    if (!list.ok) return list;
    const authority = authorityOf(certificate);
    lists.set(authority, [...(lists.get(authority) ?? []), list.value]);
  }
  return ok(lists);
}

async function listOf(
  anchor: TrustAnchor,
  sha256: string,
  source: AnchorSource,
): Promise<Result<RevocationList | 'unknown'>> {
  const known = parsedLists.get(sha256);
  if (known !== undefined) return ok(known);
  const found = await source.listOf(anchor);
  if (!found.ok) return found;
  const bytes = found.value?.value;
  if (bytes === undefined || sha256Hex(bytes) !== sha256) return ok('unknown');
  const list = readRevocationList(bytes);
  if (list !== undefined) parsedLists.set(sha256, list);
  return ok(list ?? 'unknown');
}

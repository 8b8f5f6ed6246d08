import { systemFiles } from '../audit/disk/files.ts';
import { claimedHead } from '../audit/disk/head.ts';
import { epochOrigin } from '../audit/disk/layout.ts';
import { witnessedCheckpoint } from '../audit/witness/ask-witnesses.ts';
import type { WitnessPolicy } from '../audit/witness/policy.ts';
import { type LogPlaces, restingCheckpoint } from './log-part.ts';
import type { BackupTree } from './manifest.ts';

/** Each is one small request. */
const witnessTimeoutMs = 2_000;

/** A state of the log that somebody remembers. */
export interface KnownTree {
  readonly by: string;
  readonly epoch: number;
  readonly size: number;
}

/**
 * HEAD and the checkpoint of directories that something is restored over. They need not be authentic to be a reason to ask.
 */
export function knownToDirectory({ headPath, auditDir }: LogPlaces): KnownTree[] {
  const head = claimedHead(systemFiles, headPath);
  const published = restingCheckpoint({ headPath, auditDir });
  return [
    ...(head === undefined ? [] : [{ by: headPath, epoch: head.epoch, size: head.checkpoint.size }]),
    ...(published === undefined
      ? []
      : [{ by: `the checkpoint in ${auditDir}`, epoch: published.epoch, size: published.size }]),
  ];
}

/** The log's name without its epoch: what the settings call it. */
function baseOf({ origin, epoch }: BackupTree): string {
  const ending = epochOrigin('', epoch);
  return ending !== '' && origin.endsWith(ending) ? origin.slice(0, -ending.length) : origin;
}

/** What witnesses hold of the log, of its epoch and of the next. Those that do not answer are named. */
export async function knownToWitnesses(
  policy: WitnessPolicy,
  tree: BackupTree,
): Promise<{ readonly known: readonly KnownTree[]; readonly silent: readonly string[] }> {
  const known: KnownTree[] = [];
  const silent = new Set<string>();
  const asked = policy.witnesses.filter(({ url }) => url !== undefined);
  await Promise.all(
    asked.flatMap((witness) =>
      [tree.epoch, tree.epoch + 1].map(async (epoch) => {
        const origin = epochOrigin(baseOf(tree), epoch);
        const held = await witnessedCheckpoint(witness, origin, witnessTimeoutMs);
        if (held === undefined) silent.add(witness.name);
        else if (held !== 'none') known.push({ by: `witness ${witness.name}`, epoch, size: held.size });
      }),
    ),
  );
  return { known, silent: [...silent] };
}

export function isLater(known: Pick<KnownTree, 'epoch' | 'size'>, tree: BackupTree | undefined): boolean {
  if (tree === undefined) return known.size > 0;
  return known.epoch === tree.epoch ? known.size > tree.size : known.epoch > tree.epoch;
}

import { realpathSync, type Stats, statSync } from 'node:fs';
import { dirname } from 'node:path';

/**
 * One rule for files that hold a secret and the directories they lie in, where their path resolves to: the owner is this
 * process's user or root; others may neither read nor write; the group may only where the operator says so. Of a directory
 * counts who may write into it, and so put another file in the secret's place: Kubernetes mounts secrets in directories of
 * mode 0755.
 */
export interface SecretRule {
  /** KMS_GROUP_READABLE_SECRETS. */
  readonly groupAllowed: boolean;
}

/**
 * The reason for refusing the file, for the operator, with path, owner and mode; undefined where it may be used. Throws as stat
 * does.
 */
export function judgeSecretFile(path: string, rule: SecretRule, stat = statSync(path)): string | undefined {
  return judgeSecretStat(path, stat, rule) ?? judgeSecretDirectory(dirname(realpathSync(path)), rule);
}

/** The same of a file alone, which messages call `what`: for one that is open, and whose place is not known. */
export function judgeSecretStat(what: string, stat: Stats, rule: SecretRule): string | undefined {
  const does = 'read or written';
  return judge({ what, stat, others: 0o007, group: 0o070, rule, does, remedy: 'chmod 600' });
}

/** The same for a directory that holds secrets, or is to hold one. */
export function judgeSecretDirectory(path: string, rule: SecretRule): string | undefined {
  const whole = { what: realpathSync(path), stat: statSync(path), others: 0o002, group: 0o020, rule };
  return judge({ ...whole, does: 'written', remedy: 'chmod 700' });
}

interface Judged {
  readonly what: string;
  readonly stat: Stats;
  /** Bits of the mode. */
  readonly others: number;
  readonly group: number;
  readonly does: string;
  readonly remedy: string;
  readonly rule: SecretRule;
}

function judge({ what, stat, others, group, does, remedy, rule }: Judged): string | undefined {
  const found = ownerAndMode(stat);
  // Windows knows no such user.
  const user = process.geteuid?.();
  if (user !== undefined && stat.uid !== user && stat.uid !== 0) {
    return `${what} belongs neither to the service's user (${user}) nor to root ${found}; run chown on it`;
  }
  if ((stat.mode & others) !== 0) return `${what} may be ${does} by others ${found}; run ${remedy} on it`;
  if ((stat.mode & group) !== 0 && !rule.groupAllowed) {
    return `${what} may be ${does} by its group ${found}; run ${remedy} on it, or set KMS_GROUP_READABLE_SECRETS=true`;
  }
  return undefined;
}

/** `(owner 0, mode 0600)`. */
export function ownerAndMode({ uid, mode }: Stats): string {
  return `(owner ${uid}, mode ${(mode & 0o7777).toString(8).padStart(4, '0')})`;
}

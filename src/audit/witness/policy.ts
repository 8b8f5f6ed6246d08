import { ok, type Result, refuse } from '../../core/result.ts';
import { type NoteKey, parseVkey, signatureTypes } from '../format/note.ts';

/** C2SP tlog-policy: which logs and witnesses are known, and how many witnesses make a quorum. */

export interface PolicyLog {
  readonly key: NoteKey;
  readonly url: string | undefined;
}

export interface PolicyWitness {
  /** The policy's name for it. */
  readonly name: string;
  readonly key: NoteKey;
  /** Its submission prefix, without a slash at the end. */
  readonly url: string | undefined;
}

export interface WitnessPolicy {
  readonly logs: readonly PolicyLog[];
  readonly witnesses: readonly PolicyWitness[];
  /** True if these witnesses, by the policy's names, are enough. */
  quorum(names: ReadonlySet<string>): boolean;
}

type Rule = (names: ReadonlySet<string>) => boolean;

/** 32 of each is what the specification asks for; more of them would be somebody's mistake. */
const maxLines = 1_000;

/** Logs sign with these types, witnesses with the two that carry a time. */
const logTypes: readonly number[] = [signatureTypes.ed25519, signatureTypes.mlDsa44];
const witnessTypes: readonly number[] = [signatureTypes.ed25519Cosignature, signatureTypes.mlDsa44];

class Reader {
  readonly logs: PolicyLog[] = [];
  readonly witnesses: PolicyWitness[] = [];
  quorum: Rule | undefined;
  readonly #rules = new Map<string, Rule>();
  readonly #members = new Set<string>();

  /** The reason for refusing the line, or undefined. */
  read(words: readonly string[]): string | undefined {
    const [kind, ...rest] = words;
    if (kind === 'log') return this.#log(rest);
    if (kind === 'witness') return this.#witness(rest);
    if (kind === 'group') return this.#group(rest);
    if (kind === 'quorum') return this.#quorum(rest);
    return 'a policy line begins with log, witness, group or quorum';
  }

  #log([vkey = '', url, ...rest]: readonly string[]): string | undefined {
    const key = parseVkey(vkey);
    if (!key.ok) return key.failure.hint;
    if (rest.length > 0 || !isUrl(url)) return 'log takes a verifier key and perhaps a URL';
    if (!logTypes.includes(key.value.type)) return 'the key of a log is a witness key';
    if (this.logs.some((known) => samePublicKey(known.key, key.value))) return 'a log is given twice';
    this.logs.push({ key: key.value, url: trimmed(url) });
    return undefined;
  }

  #witness([name = '', vkey = '', url, ...rest]: readonly string[]): string | undefined {
    const key = parseVkey(vkey);
    if (!key.ok) return key.failure.hint;
    if (rest.length > 0 || !isUrl(url)) return 'witness takes a name, a verifier key and perhaps a URL';
    if (!witnessTypes.includes(key.value.type)) return 'the key of a witness is not one that cosigns';
    if (this.witnesses.some((known) => samePublicKey(known.key, key.value)))
      return 'a witness is given twice';
    this.witnesses.push({ name, key: key.value, url: trimmed(url) });
    return this.#define(name, (names) => names.has(name));
  }

  #group([name = '', threshold = '', ...members]: readonly string[]): string | undefined {
    const needed = threshold === 'any' ? 1 : threshold === 'all' ? members.length : Number(threshold);
    const isCount = /^(any|all|[1-9][0-9]{0,5})$/.test(threshold);
    if (!isCount || members.length === 0 || needed > members.length) {
      return 'group takes a name, any, all or a number, and at least as many members';
    }
    const rules: Rule[] = [];
    for (const member of members) {
      const rule = this.#rules.get(member);
      if (rule === undefined) return 'a member of a group is not defined before it';
      // Each name is a member once at most, so that no witness counts twice.
      if (this.#members.has(member)) return 'a name is a member of two groups';
      this.#members.add(member);
      rules.push(rule);
    }
    return this.#define(name, (names) => rules.filter((rule) => rule(names)).length >= needed);
  }

  #quorum([name = '', ...rest]: readonly string[]): string | undefined {
    if (this.quorum !== undefined || rest.length > 0) return 'a policy has one quorum, of one name';
    this.quorum = name === 'none' ? () => true : this.#rules.get(name);
    return this.quorum === undefined ? 'the quorum is not defined before it' : undefined;
  }

  #define(name: string, rule: Rule): string | undefined {
    if (name === '' || name === 'none' || this.#rules.has(name)) {
      return 'a name is missing, reserved or given twice';
    }
    this.#rules.set(name, rule);
    return undefined;
  }
}

function samePublicKey(a: NoteKey, b: NoteKey): boolean {
  return Buffer.compare(a.publicKey, b.publicKey) === 0;
}

function isUrl(url: string | undefined): boolean {
  return url === undefined || (URL.canParse(url) && /^https?:$/.test(new URL(url).protocol));
}

function trimmed(url: string | undefined): string | undefined {
  return url?.replace(/\/+$/, '');
}

export interface RefusedPolicy {
  readonly ok: false;
  /** For the operator: the line, from 1, and what is wrong with it. */
  readonly problem: string;
}

/** Reads a policy file. */
export function parsePolicy(
  text: string,
): { readonly ok: true; readonly policy: WitnessPolicy } | RefusedPolicy {
  const lines = text.split('\n');
  if (lines.length > maxLines) return { ok: false, problem: 'the policy has more than 1,000 lines' };
  const reader = new Reader();
  for (const [at, line] of lines.entries()) {
    const words = line.split(/[ \t]+/).filter((word) => word !== '');
    if (words.length === 0 || words[0]!.startsWith('#')) continue;
    const problem = reader.read(words);
    if (problem !== undefined) return { ok: false, problem: `line ${at + 1}: ${problem}` };
  }
  const { logs, witnesses, quorum } = reader;
  if (quorum === undefined) return { ok: false, problem: 'the policy has no quorum line' };
  return { ok: true, policy: { logs, witnesses, quorum } };
}

/** k of the given witnesses, without a policy file. */
export function thresholdPolicy(
  witnesses: readonly PolicyWitness[],
  threshold: number,
): Result<WitnessPolicy> {
  if (!Number.isSafeInteger(threshold) || threshold < 0 || threshold > witnesses.length) {
    return refuse('BadRequest', 'the threshold is more than there are witnesses');
  }
  const quorum: Rule = (names) => witnesses.filter(({ name }) => names.has(name)).length >= threshold;
  return ok({ logs: [], witnesses, quorum });
}

import type { Kind } from '../kinds.ts';
import { tokenAlgorithms } from '../kinds.ts';

/** The members of an identity, all of which a mapping finds. */
const members = ['tenant', 'environment', 'plane', 'module'] as const;
export type IdentityMember = (typeof members)[number];

/** Where a client certificate says whose it is. */
export type CertificateMapping =
  /** A name of the certificate; the groups of `pattern` are the members. */
  | { readonly from: 'uri' | 'dns'; readonly text: string; readonly pattern: RegExp }
  /** Attributes of the subject by their short names, `OU`, or in dotted form. */
  | {
      readonly from: 'subject';
      readonly text: string;
      readonly attributes: Readonly<Record<IdentityMember, string>>;
    };

const maxMappings = 8;
const maxTemplateCharacters = 256;

/** A placeholder stands between two of these, or at an end, so that there is one way to read a name. */
const separators = { uri: '/:=&?@', dns: '.' } as const;

/** `uri:spiffe://*\/{tenant}/{environment}/{plane}/{module}`, `dns:…`, `subject:tenant=O;environment=OU;plane=L;module=CN`. */
export const certificateMappings: Kind<readonly CertificateMapping[]> = {
  accepts:
    'uri:<template> or dns:<template> with {tenant}, {environment}, {plane} and {module} once each as whole segments and * for any other segment, or subject:tenant=O;environment=OU;plane=L;module=CN with attributes of your own; at most 8 separated by commas',
  parse(given) {
    const list = typeof given === 'string' ? given.split(',').map((each) => each.trim()) : given;
    if (!Array.isArray(list) || list.length === 0 || list.length > maxMappings) return undefined;
    const mappings = list.map((each) => (typeof each === 'string' ? mappingOf(each) : undefined));
    return mappings.includes(undefined) ? undefined : (mappings as CertificateMapping[]);
  },
  format: (mappings) => mappings.map(({ text }) => text).join(','),
};

function mappingOf(text: string): CertificateMapping | undefined {
  const [, from, rest = ''] = /^(uri|dns|subject):([\x21-\x2b\x2d-\x7e]+)$/.exec(text) ?? [];
  if (rest.length > maxTemplateCharacters) return undefined;
  if (from === 'subject') return subjectMapping(text, rest);
  return from === 'uri' || from === 'dns' ? templateMapping(from, text, rest) : undefined;
}

function subjectMapping(text: string, rest: string): CertificateMapping | undefined {
  const attributes: Partial<Record<IdentityMember, string>> = {};
  for (const pair of rest.split(';')) {
    const [, name, attribute] = /^([a-z]+)=([A-Za-z][A-Za-z0-9]*|[0-9]+(?:\.[0-9]+)+)$/.exec(pair) ?? [];
    const member = members.find((each) => each === name);
    if (member === undefined || attributes[member] !== undefined) return undefined;
    attributes[member] = attribute as string;
  }
  const found = Object.values(attributes);
  const complete = found.length === members.length && new Set(found).size === found.length;
  return complete
    ? { from: 'subject', text, attributes: attributes as Record<IdentityMember, string> }
    : undefined;
}

function templateMapping(
  from: 'uri' | 'dns',
  text: string,
  template: string,
): CertificateMapping | undefined {
  const between = separators[from];
  const segment = `[^${between}#]+`;
  const found: string[] = [];
  let source = '';
  for (const part of template.split(new RegExp(`([${between}])`))) {
    const [, name] = /^\{([a-z]+)\}$/.exec(part) ?? [];
    if (name !== undefined) {
      found.push(name);
      source += `(?<${name}>${segment})`;
    } else if (part === '*') {
      source += segment;
    } else {
      if (/[{}*#]/.test(part)) return undefined;
      source += RegExp.escape(part);
    }
  }
  const complete = found.length === members.length && members.every((member) => found.includes(member));
  return complete ? { from, text, pattern: new RegExp(`^${source}$`, from === 'dns' ? 'i' : '') } : undefined;
}

/** An issuer or an audience of JSON Web Tokens (RFC 7519 section 4.1); empty: none. */
export const optionalTokenName: Kind<string> = {
  accepts: 'nothing, or at most 512 printable characters of ASCII without blanks',
  parse: (given) => (typeof given === 'string' && /^[\x21-\x7e]{0,512}$/.test(given) ? given : undefined),
  format: (value) => value,
};

/** Signature algorithms of JSON Web Tokens; no symmetric one is among them. */
export const signatureAlgorithms: Kind<readonly string[]> = {
  accepts: `names separated by commas: ${tokenAlgorithms.join(', ')}`,
  parse(given) {
    const list: unknown = typeof given === 'string' ? given.split(',').map((each) => each.trim()) : given;
    if (!Array.isArray(list) || list.length === 0) return undefined;
    const known = [...new Set(list)].filter((each) => tokenAlgorithms.some((name) => name === each));
    return known.length === new Set(list).size ? known : undefined;
  },
  format: (names) => names.join(','),
};

const maxDevelopmentApprovals = 64;

/** Texts that stand for the agreement of a second principal in development. */
export const developmentApprovals: Kind<readonly string[]> = {
  accepts:
    'nothing, or at most 64 texts of 1 to 128 printable characters of ASCII without blanks, separated by commas',
  parse(given) {
    if (given === '') return [];
    const list: unknown = typeof given === 'string' ? given.split(',').map((each) => each.trim()) : given;
    if (!Array.isArray(list) || list.length > maxDevelopmentApprovals) return undefined;
    const texts = list.filter(
      (each): each is string => typeof each === 'string' && /^[\x21-\x2b\x2d-\x7e]{1,128}$/.test(each),
    );
    return texts.length === list.length ? texts : undefined;
  },
  format: (texts) => texts.join(','),
};

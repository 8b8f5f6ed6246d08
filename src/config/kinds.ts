/**
 * The types that a setting may have. `parse` takes the text of a flag, a variable or a file's string, and the numbers,
 * booleans and lists that a JSON file may hold; undefined means that the value is not acceptable.
 */
export interface Kind<T> {
  /** The accepted values, in the words of help texts and refusals. */
  readonly accepts: string;
  /** Of a closed list: its words. */
  readonly names?: readonly string[];
  parse(given: unknown): T | undefined;
  /** The text that parses to the same value. */
  format(value: T): string;
}

export interface Address {
  /** A host name, an IPv4 address, or an IPv6 address without its brackets. */
  readonly host: string;
  /** 0: the system chooses a free one. */
  readonly port: number;
}

export function integer(min: number, max: number): Kind<number> {
  return {
    accepts: `a whole number from ${min} to ${max}`,
    parse(given) {
      const value = typeof given === 'string' && /^\d{1,15}$/.test(given) ? Number(given) : given;
      return typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max
        ? value
        : undefined;
    },
    format: String,
  };
}

export const boolean: Kind<boolean> = {
  accepts: 'true or false',
  parse(given) {
    if (given === true || given === 'true' || given === '1') return true;
    if (given === false || given === 'false' || given === '0') return false;
    return undefined;
  },
  format: String,
};

export function oneOf<const T extends string>(...names: readonly T[]): Kind<T> {
  return {
    accepts: `one of ${names.join(', ')}`,
    names,
    parse: (given) => names.find((name) => name === given),
    format: (value) => value,
  };
}

// 4,096 is PATH_MAX of Linux, and a NUL ends a path.
export const path: Kind<string> = {
  accepts: 'a path of at most 4096 characters',
  parse(given) {
    return typeof given === 'string' && given.length > 0 && given.length <= 4096 && !given.includes('\0')
      ? given
      : undefined;
  },
  format: (value) => value,
};

/** An address of HTTP without credentials, query or fragment; `none` for none. */
export const httpUrl: Kind<string> = {
  accepts: 'none, or http:// or https:// with host and path',
  parse: (given) =>
    given === 'none' || (typeof given === 'string' && given.length <= 2048 && isPlainUrl(given))
      ? given
      : undefined,
  format: (value) => value,
};

function isPlainUrl(text: string): boolean {
  if (!/^https?:\/\/[^\s@?#]+$/.test(text)) return false;
  return URL.canParse(text);
}

export const address: Kind<Address> = {
  accepts: 'host:port, with an IPv6 host in brackets, and port 0 for any free one',
  parse(given) {
    if (typeof given !== 'string') return undefined;
    const parts = /^(?:\[([0-9a-fA-F:.]{2,45})\]|([A-Za-z0-9._-]{1,253})):(\d{1,5})$/.exec(given);
    const host = parts?.[1] ?? parts?.[2];
    const port = Number(parts?.[3]);
    return host !== undefined && port <= 65535 ? { host, port } : undefined;
  },
  format: ({ host, port }) => (host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`),
};

/** A span of whole days; 0: without end. */
export interface Retention {
  readonly days: number;
}

/** A year counts 366 days, so that nothing is let go a day early. */
export const retention: Kind<Retention> = {
  accepts: 'none, or days or years such as 2557d or 7y, up to 100 years',
  parse(given) {
    if (given === 'none') return { days: 0 };
    const parts = typeof given === 'string' ? /^([1-9][0-9]{0,4})([dy])$/.exec(given) : null;
    const days = Number(parts?.[1]) * (parts?.[2] === 'y' ? 366 : 1);
    return days <= 36_600 ? { days } : undefined;
  },
  format: ({ days }) => (days === 0 ? 'none' : `${days}d`),
};

/** A value of a label: nothing in it needs escaping. */
export const label: Kind<string> = {
  accepts: 'a letter or digit and up to 62 more of A-Z a-z 0-9 . _ -',
  parse: (given) =>
    typeof given === 'string' && /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/.test(given) ? given : undefined,
  format: (value) => value,
};

/** The same, or nothing. */
export const optionalLabel: Kind<string> = {
  accepts: 'nothing, or a letter or digit and up to 62 more of A-Z a-z 0-9 . _ -',
  parse: (given) => (given === '' ? '' : label.parse(given)),
  format: (value) => value,
};

/** A key name of a signed note (C2SP signed-note): no white space, no plus. */
export const origin: Kind<string> = {
  accepts: 'a URL without its scheme, at most 200 of A-Z a-z 0-9 . _ - / :',
  parse: (given) =>
    typeof given === 'string' && /^[A-Za-z0-9][A-Za-z0-9._\-/:]{0,199}$/.test(given) ? given : undefined,
  format: (value) => value,
};

/** No list at all: every algorithm that the product has. */
export type AllowedAlgorithms = 'all' | readonly string[];

/** Only the grammar of the names; whether each exists is checked against the registry that the loader is given. */
export const algorithms: Kind<AllowedAlgorithms> = {
  accepts: 'all, or names of algorithms separated by commas',
  parse(given) {
    if (given === 'all') return 'all';
    const list: unknown = typeof given === 'string' ? given.split(',').map((name) => name.trim()) : given;
    if (!Array.isArray(list) || list.length === 0 || list.length > 64) return undefined;
    const names = list.filter((name) => typeof name === 'string' && /^[a-z0-9+-]{1,40}$/.test(name));
    return names.length === list.length ? [...new Set<string>(names)] : undefined;
  },
  format: (value) => (typeof value === 'string' ? value : value.join(',')),
};

/** Signature algorithms of RFC 7518, RFC 8037 and RFC 9964 that prove who made a token; none is symmetric. */
export const tokenAlgorithms = [
  ...['EdDSA', 'Ed25519', 'ES256', 'ES384', 'ES512', 'PS256', 'PS384', 'PS512', 'RS256', 'RS384', 'RS512'],
  ...['ML-DSA-44', 'ML-DSA-65', 'ML-DSA-87'],
] as const;

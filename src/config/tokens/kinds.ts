import { isName } from '../../core/name.ts';
import { integer, type Kind, path } from '../kinds.ts';

/** A token by its CKA_LABEL, or as `serial:<number>` by its serial number. */
export type TokenName = { readonly label: string } | { readonly serial: string };

/** One PKCS#11 token, as a file names it. */
export interface NamedToken {
  readonly module: string;
  readonly token: TokenName;
  readonly pinFile: string;
  readonly sessions: number;
}

/** CK_TOKEN_INFO has 32 bytes for a label, blanks at its end are none of it, and 16 for a serial number. */
const maxLabelBytes = 32;
const maxSerialCharacters = 16;
const maxTokens = 16;
export const defaultSessions = 8;
export const sessionCount = integer(1, 128);

const serialPrefix = 'serial:';

export const tokenName: Kind<'none' | TokenName> = {
  accepts: 'none, a label of at most 32 bytes, or serial: and a serial number of at most 16 characters',
  parse(given) {
    if (given === 'none') return 'none';
    if (typeof given !== 'string' || /\p{Cc}/u.test(given) || given.trim() !== given || given === '')
      return undefined;
    if (!given.startsWith(serialPrefix))
      return Buffer.byteLength(given) <= maxLabelBytes ? { label: given } : undefined;
    const serial = given.slice(serialPrefix.length);
    return serial.length > 0 && serial.length <= maxSerialCharacters ? { serial } : undefined;
  },
  format: formatToken,
};

export function formatToken(token: 'none' | TokenName): string {
  if (token === 'none') return 'none';
  return 'label' in token ? token.label : `${serialPrefix}${token.serial}`;
}

/** A path; `fd:N` from 3 on; `credential:NAME`. */
export const pinSource: Kind<string> = {
  accepts: 'none, a path, fd: and a descriptor from 3 to 1023, or credential: and the name of one',
  parse(given) {
    if (typeof given !== 'string') return undefined;
    const descriptor = /^fd:(.*)$/.exec(given)?.[1];
    if (descriptor !== undefined)
      return integer(3, 1_023).parse(descriptor) === undefined ? undefined : given;
    const credential = /^credential:(.*)$/.exec(given)?.[1];
    if (credential !== undefined) return /^[A-Za-z0-9_.-]{1,255}$/.test(credential) ? given : undefined;
    return path.parse(given);
  },
  format: (value) => value,
};

/** By the names of the backends. In a file a mapping; elsewhere the same as JSON. */
export const namedTokens: Kind<Readonly<Record<string, NamedToken>>> = {
  accepts: `none, or names of backends, each with {module, token, pin_file} and sessions (1 to 128) if wanted; as JSON outside of a file; at most ${maxTokens}`,
  parse(given) {
    if (given === 'none') return {};
    const members = typeof given === 'string' ? parsedJson(given) : given;
    if (!isObject(members)) return undefined;
    const entries = Object.entries(members);
    if (entries.length > maxTokens) return undefined;
    const tokens = entries.map(([name, member]) => [name, tokenIn(name, member)] as const);
    return tokens.some(([, token]) => token === undefined)
      ? undefined
      : (Object.fromEntries(tokens) as Record<string, NamedToken>);
  },
  format: (tokens) =>
    Object.keys(tokens).length === 0
      ? 'none'
      : JSON.stringify(
          Object.fromEntries(
            Object.entries(tokens).map(([name, { module, token, pinFile, sessions }]) => [
              name,
              { module, token: formatToken(token), pin_file: pinFile, sessions },
            ]),
          ),
        ),
};

const tokenMembers = ['module', 'token', 'serial', 'pin_file', 'sessions'];

function tokenIn(name: string, given: unknown): NamedToken | undefined {
  if (!isName(name) || name === 'software' || !isObject(given)) return undefined;
  if (Object.keys(given).some((member) => !tokenMembers.includes(member))) return undefined;
  const module = path.parse(given.module);
  const token = given.serial === undefined ? tokenName.parse(given.token) : serialIn(given);
  const pinFile = pinSource.parse(given.pin_file);
  const sessions = given.sessions === undefined ? defaultSessions : sessionCount.parse(given.sessions);
  const whole =
    module !== undefined && token !== undefined && pinFile !== undefined && sessions !== undefined;
  return whole && token !== 'none' && module !== 'none' && pinFile !== 'none'
    ? { module, token, pinFile, sessions }
    : undefined;
}

function serialIn({ serial, token }: Record<string, unknown>): TokenName | undefined {
  if (token !== undefined || typeof serial !== 'string') return undefined;
  const parsed = tokenName.parse(`${serialPrefix}${serial}`);
  return parsed === 'none' ? undefined : parsed;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function parsedJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

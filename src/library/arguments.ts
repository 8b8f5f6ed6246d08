import { failure } from '../core/failure.ts';
import { KmsError } from './errors.ts';

/** The forms of arguments: what a caller of JavaScript may give wrongly, said by the argument's name. */

function invalid(hint: string): never {
  throw new KmsError(failure('BadRequest', hint));
}

/** The bytes as they are now: whoever gave them may change theirs afterwards. */
export function bytes(name: string, value: unknown): Uint8Array {
  return value instanceof Uint8Array ? Uint8Array.from(value) : invalid(`${name} is a Uint8Array`);
}

export function optionalBytes(name: string, value: unknown): Uint8Array | undefined {
  return value === undefined ? undefined : bytes(name, value);
}

export function text(name: string, value: unknown): string {
  return typeof value === 'string' ? value : invalid(`${name} is a text`);
}

export function required<Value>(name: string, value: Value | undefined): Value {
  return value ?? invalid(`${name} is missing`);
}

export function optionalText(name: string, value: unknown): string | undefined {
  return value === undefined ? undefined : text(name, value);
}

export function optionalInteger(name: string, value: unknown): number | undefined {
  if (value === undefined) return undefined;
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0
    ? value
    : invalid(`${name} is a whole number`);
}

/** An object of these members and no others, none of them from its prototype. */
export function members<Name extends string>(
  what: string,
  value: unknown,
  names: readonly Name[],
): { readonly [Each in Name]?: unknown } {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    return invalid(`${what} is an object`);
  const known: ReadonlySet<string> = new Set(names);
  const unknown = Object.keys(value).find((name) => !known.has(name));
  if (unknown !== undefined) return invalid(`${what} has a member that is not known`);
  return value as { readonly [Each in Name]?: unknown };
}

export function choice<Value extends string>(
  name: string,
  value: unknown,
  all: readonly Value[],
): Value | undefined {
  if (value === undefined) return undefined;
  return all.find((each) => each === value) ?? invalid(`${name} is ${all.join(' or ')}`);
}

export function items<Value>(
  name: string,
  value: unknown,
  most: number,
  read: (name: string, each: unknown) => Value,
): readonly Value[] {
  if (!Array.isArray(value) || value.length === 0 || value.length > most)
    return invalid(`${name} is a list of 1 to ${most}`);
  // A hole of a list is undefined here, and not passed over.
  return Array.from(value, (each, index) => read(`${name}[${index}]`, each));
}

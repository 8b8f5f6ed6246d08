import { type FieldName, fieldNames, fields, flagOf, memberOf } from './fields.ts';
import { nearest } from './nearest.ts';

export const byFlag: ReadonlyMap<string, FieldName> = new Map(fieldNames.map((name) => [flagOf(name), name]));
export const byMember: ReadonlyMap<string, FieldName> = new Map(
  fieldNames.map((name) => [memberOf(name), name]),
);
export const byVariable: ReadonlyMap<string, FieldName> = new Map(
  fieldNames.map((name) => [fields[name].variable as string, name]),
);

/** `RON_KMS_BIND` is `KMS_BIND`. */
export function plainVariable(variable: string): string {
  return variable.startsWith('RON_') ? variable.slice(4) : variable;
}

/** The setting that somebody means by `KMS_BIND`, `RON_KMS_BIND`, `--bind` or `bind`. */
export function spelled(text: string): FieldName | undefined {
  return byVariable.get(plainVariable(text)) ?? byFlag.get(text) ?? byMember.get(text);
}

/** `; did you mean KMS_BIND?`, or nothing where no known name is near. */
export function didYouMean(name: string, known: Iterable<string>): string {
  const near = nearest(name, known);
  return near === undefined ? '' : `; did you mean ${near}?`;
}

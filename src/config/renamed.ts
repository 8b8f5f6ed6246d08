import type { FieldName } from './fields.ts';

/** A setting that had another name. The old one is taken for a minor version, with a warning, and then it is unknown. */
export interface Renamed {
  /** Its old variable; flag and file member follow from it as they do from the new one. */
  readonly variable: `KMS_${string}`;
  readonly name: FieldName;
  /** The first version that knows the old name no more. */
  readonly until: string;
}

/** Every rename that is still taken. `config migrate` rewrites files by it. None at present. */
export const renamed: readonly Renamed[] = [];

/** As `KMS_OLD`, `--old` and `old` are spelled. */
export function oldSpellings({ variable }: Renamed): { variable: string; flag: string; member: string } {
  const member = variable.slice(4).toLowerCase();
  return { variable, flag: `--${member.replaceAll('_', '-')}`, member };
}

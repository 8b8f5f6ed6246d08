import type { KeyPlacement } from '../record.ts';

/** Store keys and names of keys that have a placement. Printable ASCII of at most 128 characters. */
const alias = /^[A-Za-z0-9._:/@+-]{1,128}$/;

export function isAlias(text: string): boolean {
  return alias.test(text);
}

/** Names of services are given by identities: printable ASCII without blanks and quotes. */
const moduleName = /^[!#-&(-~]{1,128}$/;

export function isModule(text: string): boolean {
  return moduleName.test(text);
}

/** Before those of all tenants. */
export const allIds = 'key-id/';

/** Before the records that lead from a key_id of this tenant to the kid of its version. */
export function idPrefix(tenant: string): string {
  return `${allIds}${tenant}/`;
}

/** The record that leads from an alias to the id of the key that has it. */
export function aliasKey(tenant: string, { environment, plane }: KeyPlacement, name: string): string {
  return `key-alias/${tenant}/${environment}/${plane}/${name}`;
}

const pattern = /^[a-z0-9][a-z0-9._-]{0,62}$/;

/** The grammar of tenants and purposes. Such a name needs no escaping in paths, files, caveats or metrics. */
export function isName(text: string): boolean {
  return pattern.test(text);
}

/** JSON with its members in order: RFC 8785 for values of texts in ASCII, integers below 2^53, lists and objects. */
export function canonicalJson(value: unknown): string {
  return JSON.stringify(value, sortMembers);
}

function sortMembers(_name: string, value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).sort(([one], [two]) => (one < two ? -1 : 1)));
}

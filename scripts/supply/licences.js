/** The licences under which others may be part of a product that is itself under Apache-2.0, by their SPDX names. */
export const allowedLicences = new Set([
  ...['0BSD', 'Apache-2.0', 'BSD-2-Clause', 'BSD-3-Clause', 'ISC', 'MIT', 'MIT-0', 'Unlicense', 'Zlib'],
  // Permissive, and approved by the OSI: minipass and its kin have it.
  'BlueOak-1.0.0',
  // The tables of Unicode.
  'Unicode-3.0',
]);

/**
 * True if an SPDX expression can be met with allowed licences alone. Exceptions (`WITH`) only give further rights.
 * @param {string} expression such as `(MIT OR Apache-2.0) AND Unicode-3.0`
 */
export function mayBeUsed(expression) {
  const tokens = expression.match(/[()]|[^\s()]+/g) ?? [];
  let at = 0;
  /** @returns {boolean} */
  const operand = () => {
    const token = tokens[at++];
    if (token === '(') {
      const inner = alternatives();
      at++;
      return inner;
    }
    if (tokens[at] === 'WITH') at += 2;
    return token !== undefined && allowedLicences.has(token);
  };
  /** @returns {boolean} */
  const all = () => {
    let holds = operand();
    while (tokens[at] === 'AND') {
      at++;
      holds = operand() && holds;
    }
    return holds;
  };
  /** @returns {boolean} */
  const alternatives = () => {
    let holds = all();
    while (tokens[at] === 'OR') {
      at++;
      holds = all() || holds;
    }
    return holds;
  };
  return alternatives() && at === tokens.length;
}

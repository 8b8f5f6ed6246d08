/** The parts of Intaglio that others wrote, as CycloneDX 1.6 has them: npm packages and, of the native engine, crates. */

/**
 * @typedef {{name: string, value?: string}} Property
 * @typedef {{type: 'library', 'bom-ref': string, name: string, version: string, scope: 'required' | 'optional' | 'excluded',
 *   hashes: {alg: string, content: string}[], licenses: {expression: string}[], purl: string, properties?: Property[]}} Component
 * @typedef {{version?: string, integrity?: string, license?: string, name?: string, dev?: boolean, devOptional?: boolean,
 *   optional?: boolean, link?: boolean}} LockedPackage
 * @typedef {{name: string, version: string, license: string | null, source: string | null, id: string}} Crate
 * @typedef {{nodes: {id: string, deps: {pkg: string, dep_kinds: {kind: string | null}[]}[]}[], root: string}} Resolve
 */

/** @param {Component} a @param {Component} b */
function byPurl(a, b) {
  return a.purl < b.purl ? -1 : a.purl > b.purl ? 1 : 0;
}

/** @param {LockedPackage} locked @returns {Component['scope']} */
function scopeOf({ dev, devOptional, optional }) {
  // Needed to develop, and in no way to run.
  if (dev === true || devOptional === true) return 'excluded';
  return optional === true ? 'optional' : 'required';
}

/** @param {string} integrity `sha512-<base64>`, several separated by spaces */
function hashesOf(integrity) {
  return integrity.split(' ').map((one) => {
    const [algorithm = '', digest = ''] = one.split('-', 2);
    return {
      alg: algorithm.toUpperCase().replace('SHA', 'SHA-'),
      content: Buffer.from(digest, 'base64').toString('hex'),
    };
  });
}

/**
 * One component for each package and version, however often it is installed.
 * @param {{packages: Record<string, LockedPackage>}} lock package-lock.json
 * @returns {Component[]}
 */
export function npmComponents(lock) {
  /** @type {Map<string, Component>} */
  const components = new Map();
  for (const [path, locked] of Object.entries(lock.packages)) {
    if (!path.startsWith('node_modules/') || locked.link === true) continue;
    // An alias is installed under another name than its own.
    const name = locked.name ?? path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length);
    const version = locked.version ?? '';
    const purl = `pkg:npm/${name.replace('@', '%40')}@${version}`;
    const known = components.get(purl);
    const scope = scopeOf(locked);
    if (known !== undefined) {
      if (known.scope !== 'required' && scope !== 'excluded') known.scope = scope;
      continue;
    }
    components.set(purl, {
      ...{ type: 'library', 'bom-ref': purl, name, version, scope },
      hashes: hashesOf(locked.integrity ?? ''),
      licenses: [{ expression: locked.license ?? 'NOASSERTION' }],
      purl,
    });
  }
  return [...components.values()].sort(byPurl);
}

/**
 * Names, versions and SHA-256 of the crates in a Cargo.lock that come from a registry.
 * @param {string} text
 */
export function lockedCrates(text) {
  return text
    .split('[[package]]')
    .slice(1)
    .map((block) => ({
      name: /^name = "(.+)"$/m.exec(block)?.[1] ?? '',
      version: /^version = "(.+)"$/m.exec(block)?.[1] ?? '',
      sha256: /^checksum = "([0-9a-f]{64})"$/m.exec(block)?.[1],
    }))
    .filter(({ sha256 }) => sha256 !== undefined);
}

/**
 * The crates that the library is built from, for every platform.
 * @param {{packages: Crate[], resolve: Resolve}} metadata as `cargo metadata` says it
 * @param {string} lockText Cargo.lock
 * @returns {Component[]}
 */
export function crateComponents({ packages, resolve }, lockText) {
  const checksums = new Map(
    lockedCrates(lockText).map((crate) => [`${crate.name}@${crate.version}`, crate.sha256]),
  );
  const built = builtFrom(resolve);
  return packages
    .filter(({ id, source }) => source !== null && built.has(id))
    .map(({ name, version, license }) => {
      const purl = `pkg:cargo/${name}@${version}`;
      return /** @type {Component} */ ({
        ...{ type: 'library', 'bom-ref': purl, name, version, scope: 'required' },
        hashes: [{ alg: 'SHA-256', content: checksums.get(`${name}@${version}`) ?? '' }],
        // Before SPDX expressions, crates separated alternatives by a slash.
        licenses: [{ expression: (license ?? 'NOASSERTION').replaceAll('/', ' OR ') }],
        purl,
      });
    })
    .sort(byPurl);
}

/** @param {Resolve} resolve */
function builtFrom({ nodes, root }) {
  const byId = new Map(nodes.map((node) => [node.id, node]));
  const found = new Set([root]);
  for (const id of found) {
    for (const { pkg, dep_kinds } of byId.get(id)?.deps ?? []) {
      if (dep_kinds.some(({ kind }) => kind !== 'dev')) found.add(pkg);
    }
  }
  return found;
}

/**
 * @param {{name: string, version: string, description: string, license: string}} manifest
 * @param {Component[]} components
 */
export function bomOf({ name, version, description, license }, components) {
  // Without a serial number and a time: the same sources have the same bill.
  return {
    bomFormat: 'CycloneDX',
    specVersion: '1.6',
    version: 1,
    metadata: {
      component: {
        ...{ type: 'application', 'bom-ref': `pkg:npm/${name}@${version}`, name, version, description },
        licenses: [{ expression: license }],
        purl: `pkg:npm/${name}@${version}`,
      },
    },
    components,
  };
}

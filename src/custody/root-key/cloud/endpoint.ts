const loopbackHosts = new Set(['localhost', '127.0.0.1', '[::1]']);

/** Of this machine: the tests' and emulators' places. A resolver may look names below `localhost` up in DNS (RFC 6761, 6.3). */
export function isOwnMachine(hostname: string): boolean {
  return loopbackHosts.has(hostname);
}

/**
 * What is wrong with the address of a KMS, or undefined. The root key crosses the connection in the clear inside TLS, so that
 * plain HTTP is for this machine alone. A token of Google is good for every service of Google, and goes to Google's hosts only.
 */
export function endpointProblem(kind: 'aws' | 'gcp' | 'azure', address: string): string | undefined {
  if (!URL.canParse(address)) return 'is no URL';
  const { protocol, hostname, username, password, search, hash } = new URL(address);
  if (username !== '' || password !== '') return 'must not hold a credential';
  if (search !== '' || hash !== '') return 'must have neither a query nor a fragment';
  if (isOwnMachine(hostname) && (protocol === 'http:' || protocol === 'https:')) return undefined;
  if (protocol !== 'https:') return 'must begin with https:// (http:// is for this machine alone)';
  if (kind === 'gcp' && !hostname.endsWith('.googleapis.com')) return 'must be a host of googleapis.com';
  return undefined;
}

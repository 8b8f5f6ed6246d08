import type { Config, FieldName } from './fields.ts';

/** Settings of listeners that contradict each other, or would do nothing: each is one line for the operator. */
export function findListenContradictions(
  config: Config,
  isGiven: (name: FieldName) => boolean,
  problems: string[],
): void {
  const { listen, tlsCertFile, tlsKeyFile, tlsClientCaFile, unixAllowedUids } = config;
  if (isGiven('listen') && isGiven('bind')) {
    problems.push('KMS_BIND is the short form of KMS_LISTEN: set one of them');
  }
  const encrypted = listen.some(({ scheme }) => scheme === 'https');
  const asksClients = listen.some((each) => each.scheme === 'https' && each.client !== 'none');
  const files = [tlsCertFile, tlsKeyFile].filter((file) => file !== 'none').length;
  if (files === 1) problems.push('KMS_TLS_CERT_FILE and KMS_TLS_KEY_FILE belong together: set both');
  if (encrypted && files === 0) {
    problems.push('an https listener needs KMS_TLS_CERT_FILE and KMS_TLS_KEY_FILE');
  }
  if (!encrypted && files > 0) problems.push('KMS_TLS_CERT_FILE needs an https listener in KMS_LISTEN');
  if (asksClients && tlsClientCaFile === 'none') {
    problems.push('a listener that asks for client certificates needs KMS_TLS_CLIENT_CA_FILE');
  }
  // Whoever sets it believes that clients are checked.
  if (!asksClients && tlsClientCaFile !== 'none') {
    problems.push('KMS_TLS_CLIENT_CA_FILE needs an https listener with client=request or client=require');
  }
  if (unixAllowedUids !== 'any' && !listen.some(({ scheme }) => scheme === 'unix')) {
    problems.push('KMS_UNIX_ALLOWED_UIDS needs a unix: listener in KMS_LISTEN');
  }
}

/** The reasons why a KMS does not wrap or unwrap, the same for all providers. */
export type TroubleKind =
  | 'no-package'
  | 'no-credentials'
  | 'denied'
  | 'no-key'
  | 'disabled'
  | 'deletion'
  | 'unfit'
  | 'not-its'
  | 'throttled'
  | 'untrusted'
  | 'clock'
  | 'proxy'
  | 'node_proxy'
  | 'away'
  | 'slow'
  | 'lied'
  | 'failed';

/** Carries a code of the provider or the system at most: their messages name identities and may quote what was sent. */
export class CloudTrouble extends Error {
  override readonly name = 'CloudTrouble';
  readonly kind: TroubleKind;
  readonly code: string | undefined;

  constructor(kind: TroubleKind, code?: string) {
    super(kind);
    this.kind = kind;
    this.code = code !== undefined && /^[\w.@/-]{1,80}$/.test(code) ? code : undefined;
  }
}

/** In words for the operator: the fault and its remedy. */
export function wordsFor({ kind, code }: CloudTrouble): string {
  const named = code === undefined ? '' : ` (${code})`;
  return `${words[kind]}`.replace('#', named).replace('@', code ?? 'of its SDK');
}

/** `#`: the code in brackets; `@`: the code. */
const words: Readonly<Record<TroubleKind, string>> = {
  'no-package': 'needs the npm package @, which is not installed: npm install it beside intaglio',
  'no-credentials':
    'no credentials were found that it takes#: give this machine or process an identity, as docs/cloud-roots.md says',
  denied:
    'the identity of this process is refused#: it has to be allowed to wrap and to unwrap with this key, and what the list has must be of this key',
  'no-key':
    'there is no such key#: see that name, region and account are right, and that it was not deleted (one that was may be recovered for some days)',
  disabled: 'the key is disabled#: enable it again',
  deletion:
    'the key is about to be deleted, or is in another state that forbids its use#: cancel the deletion at once, as this source is lost after it',
  unfit:
    'the key cannot be used for this#: it has to be one that wraps, of the kind that docs/cloud-roots.md names',
  'not-its':
    'does not open what the list has#: it was wrapped by another key or for another source, or it is damaged. Take the list from a backup, or another source',
  throttled:
    'asks for fewer calls, also after all tries#: wait a minute and start again, and see what else uses up the quota',
  untrusted:
    'its TLS connection is not taken#, and nothing was sent: a certificate of another name is of another machine (see endpoint and proxy), one that is expired or not yet valid may be the fault of the time here, and one of a CA of your own is taken where NODE_EXTRA_CA_CERTS names its file. Verification cannot be turned off',
  clock:
    'the time of this machine is not that of the provider#: set it (chronyc tracking, timedatectl), and start again',
  proxy:
    'cannot be asked, as HTTPS_PROXY is not an address that begins with http://: give one, or take it out of the environment',
  node_proxy:
    'cannot be asked, as NODE_USE_ENV_PROXY or --use-env-proxy sends tokens by a proxy that could read them: take it out of the environment; HTTPS_PROXY needs neither',
  away: 'does not answer#: see the way to it (network, DNS, proxy, endpoint) and the status page of the provider; another source of the list opens meanwhile',
  slow: 'gave no answer in time#: see the way to it (network, firewall, proxy) and the status page of the provider; another source of the list opens meanwhile',
  lied: 'its answer is not believed#: something on the way changed it, or it is of another key. Nothing was taken from it; see what the endpoint is',
  failed: 'refused the call#',
};

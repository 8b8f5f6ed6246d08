import { CloudTrouble } from './trouble.ts';

/**
 * Hosts of tokens that are asked over plain HTTP: of this machine and of its network's own, by each provider. A proxy would read
 * the token, and would get that of its own machine.
 */
const neverByProxy = [
  ...['localhost', '127.0.0.1', '[::1]', '::1'],
  // AWS: instance metadata, tasks of ECS, pods of EKS. Azure and Google have the first one, too.
  ...['169.254.169.254', '[fd00:ec2::254]', '169.254.170.2', '169.254.170.23', '[fd00:ec2::23]'],
  ...['metadata.google.internal', 'metadata'],
];

/** SDKs read them in different ways: one sends plain HTTP by them, and another TLS. */
const unread = ['HTTP_PROXY', 'http_proxy', 'ALL_PROXY', 'all_proxy', 'grpc_proxy', 'no_grpc_proxy'];

/**
 * Makes one rule of the ways of all SDKs, in the environment of this process, before one is loaded. The certificate is always
 * verified. HTTPS_PROXY and NO_PROXY, in small letters or not, are the only variables of a proxy; its address is `http://`, which
 * all SDKs take, and TLS goes through it to the provider. Throws a CloudTrouble.
 */
export function settleNetwork(env: NodeJS.ProcessEnv = process.env, flags = process.execArgv): void {
  // Node gave its agents their proxies when it began: they send plain HTTP, and so tokens, by HTTP_PROXY.
  if (usesNodesProxy(env, flags)) throw new CloudTrouble('node_proxy');
  // Of Node, for all that it connects to; it is read at each connection.
  delete env.NODE_TLS_REJECT_UNAUTHORIZED;
  for (const name of unread) delete env[name];
  const proxy = env.https_proxy || env.HTTPS_PROXY;
  if (proxy === undefined || proxy === '') return;
  // Else one SDK would leave it out without a word, and another would fail.
  if (!URL.canParse(proxy) || new URL(proxy).protocol !== 'http:') throw new CloudTrouble('proxy');
  const given = (env.no_proxy || env.NO_PROXY || '').split(',').map((host) => host.trim());
  const none = [...new Set([...given, ...neverByProxy])].filter((host) => host !== '').join(',');
  Object.assign(env, { https_proxy: proxy, HTTPS_PROXY: proxy, no_proxy: none, NO_PROXY: none });
}

function usesNodesProxy(
  { NODE_USE_ENV_PROXY: variable }: NodeJS.ProcessEnv,
  flags: readonly string[],
): boolean {
  return flags.includes('--use-env-proxy') || (variable === '1' && !flags.includes('--no-use-env-proxy'));
}

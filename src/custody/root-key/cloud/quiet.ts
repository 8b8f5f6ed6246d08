/**
 * With one of them Node or an SDK writes requests to standard error: tokens, credentials, and of some the root key. The process
 * that opens a source says its reason there, which goes into the log.
 */
const tellingVariables: ReadonlySet<string> = new Set([
  'AZURE_LOG_LEVEL',
  'DEBUG',
  'GOOGLE_SDK_NODE_LOGGING',
  'GRPC_NODE_TRACE',
  'GRPC_NODE_VERBOSITY',
  'GRPC_TRACE',
  'GRPC_VERBOSITY',
  'NODE_DEBUG',
  'NODE_DEBUG_NATIVE',
]);

/** Of this process, before an SDK is loaded. Node reads NODE_DEBUG before that. */
export function quietThisProcess(): void {
  for (const name of tellingVariables) delete process.env[name];
  // Errors of connections are said in words of our own.
  process.env.GRPC_VERBOSITY = 'NONE';
}

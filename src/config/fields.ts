import { dekFields } from './deks/fields.ts';
import { type Field, field } from './field.ts';
import { identityFields } from './identity/fields.ts';
import {
  type Address,
  address,
  algorithms,
  boolean,
  httpUrl,
  integer,
  label,
  oneOf,
  optionalLabel,
  origin,
  path,
  type Retention,
  retention,
} from './kinds.ts';
import { algorithmDays, type ScopeRate, scopeRates, tenantWeights } from './limit-kinds.ts';
import { isLoopback, type ListenAddress, listenAddresses, trustedProxies, userIds } from './listen-kinds.ts';
import { m33Fields } from './m33/fields.ts';
import { pqFields } from './pq-fields.ts';
import { profiles } from './profiles.ts';
import { backendFields } from './tokens/backend-fields.ts';
import { tokenFields } from './tokens/fields.ts';
import { tpmFields } from './tokens/tpm-fields.ts';

const kib = 1024;
const mib = 1024 * kib;

/** Every setting, once. Adding one is one entry: the type of the configuration, flags, help and checks follow from it. */
export const fields = {
  profile: field(
    'KMS_PROFILE',
    oneOf<string>('none', ...Object.keys(profiles)),
    'none',
    'A named set of settings: `micronode` keeps nothing on disk (KMS_AMNESIA, KMS_BACKEND=memory, KMS_AUDIT=off) and takes either half of a hybrid signature (KMS_PQ_VERIFY_MODE=or). What a profile sets may be given besides, and only as it says. `macronode` is for keys in a token: it needs one, and KMS_ATTEST_REQUIRE, KMS_BACKENDS_REQUIRED and KMS_PQ_VERIFY_MODE=and.',
  ),
  bind: field<Address>(
    'KMS_BIND',
    address,
    { host: '127.0.0.1', port: 7441 },
    'Where plain HTTP is served, as host:port: the short form of KMS_LISTEN=http://host:port. Loopback by default, because nothing here is encrypted in transit; beyond loopback it is taken until the next minor version, with a warning. Port 0 takes a free port, and the line `listening` says which.',
  ),
  listen: field<readonly ListenAddress[]>(
    'KMS_LISTEN',
    listenAddresses,
    {
      text: 'http:// and KMS_BIND',
      from: ({ bind }) => [{ scheme: 'http', insecure: !isLoopback(bind.host), ...bind }],
    },
    'Where callers are let in, in place of KMS_BIND: plain HTTP, TLS 1.3 with or without client certificates, Unix sockets, several of each; docs/listeners.md says what each takes. Plain HTTP beyond loopback shows capabilities to the network and has to be asked for with ?insecure.',
  ),
  tlsCertFile: field(
    'KMS_TLS_CERT_FILE',
    path,
    'none',
    'The certificate of all https listeners, in PEM, with its chain behind it. It is read again, with key and client authority, when one of the files changes and on SIGHUP.',
  ),
  tlsKeyFile: field(
    'KMS_TLS_KEY_FILE',
    path,
    'none',
    'The private key of KMS_TLS_CERT_FILE, in PEM without a passphrase, mode 0600.',
  ),
  tlsClientCaFile: field(
    'KMS_TLS_CLIENT_CA_FILE',
    path,
    'none',
    'The certificates, in PEM, one of which has to stand behind a client certificate. For listeners with client=request or client=require; no other authority is trusted.',
  ),
  trustedProxies: field<readonly string[]>(
    'KMS_TRUSTED_PROXIES',
    trustedProxies,
    { text: 'none', from: () => [] },
    'The proxies whose X-Forwarded-For or Forwarded is believed: the rightmost address there that is not itself one of these counts for limits of refusals and the caveat address. Others may send these headers, and nobody looks at them. `unix` stands for whoever connects over a Unix socket.',
  ),
  unixAllowedUids: field<'any' | readonly number[]>(
    'KMS_UNIX_ALLOWED_UIDS',
    userIds,
    'any',
    'The users who may connect over a Unix socket, as the kernel tells them (SO_PEERCRED). With a list, connections of others are refused, and all of them where the kernel cannot be asked. `any` leaves it to the permissions of the socket.',
  ),
  dataDir: field(
    'KMS_DATA_DIR',
    path,
    './data',
    'The directory that holds the store, the root key, the macaroon key and the bootstrap capability. Made with mode 0700 when it is missing.',
  ),
  engine: field(
    'KMS_ENGINE',
    oneOf('auto', 'native', 'openssl'),
    'auto',
    'The crypto engine. `auto` takes the native one where it was built and OpenSSL otherwise; `native` refuses to start without it.',
  ),
  backend: field<'lmdb' | 'memory'>(
    'KMS_BACKEND',
    oneOf('lmdb', 'memory'),
    { text: 'lmdb, or memory in amnesia mode', from: ({ amnesia }) => (amnesia ? 'memory' : 'lmdb') },
    'Where key records live. `lmdb` is an embedded, crash-safe store under the data directory; `memory` forgets everything when the process ends.',
  ),
  amnesia: field(
    'KMS_AMNESIA',
    boolean,
    false,
    'Keep nothing on disk: keys, root key and macaroon key are made at every start and are gone at its end. Refuses a store that persists.',
  ),
  rootKeyFile: field(
    'KMS_ROOT_KEY_FILE',
    path,
    { text: '<data dir>/root.key', from: ({ dataDir }) => `${dataDir}/root.key` },
    'The file with the 32 byte key under which all private keys are sealed, mode 0600. Made at first start. Whoever has it and the store has every key; keep a copy elsewhere, because without it every key is lost. Not used in amnesia mode.',
  ),
  rootKeyFd: field(
    'KMS_ROOT_KEY_FD',
    integer(0, 1_023),
    0,
    'An open descriptor, from 3 on, that gives the root key in place of a file: 32 bytes and the end, from a file or a pipe. It is read once at the start and closed, so the key need not have a place on disk. 0 reads KMS_ROOT_KEY_FILE. npm hands no descriptors on: start `node src/cli/main.ts serve` itself.',
  ),
  maxPayloadBytes: field(
    'KMS_MAX_PAYLOAD',
    integer(4 * kib, 16 * mib),
    mib,
    'The largest request body, in bytes; more is answered 413 before it is read. 1 MiB holds a batch of 256 signings, or of 220 verifications of ML-DSA-65; 4 KiB holds one signing with every option.',
  ),
  allowedAlgs: field(
    'KMS_ALLOWED_ALGS',
    algorithms,
    'all',
    'The algorithms that keys may be created, rotated and used with, as the registry names them. Narrowing it also stops existing keys of the others.',
    'reload',
  ),
  workers: field<number>(
    'KMS_WORKERS',
    integer(1, 256),
    {
      text: 'processors less one, at least 1',
      from: ({ cores }) => Math.min(256, Math.max(1, cores - 1)),
    },
    'Threads that do the cryptography. One processor is left to the thread that talks HTTP.',
  ),
  timeSkewToleranceMs: field(
    'KMS_TIME_SKEW_TOLERANCE_MS',
    integer(0, 300_000),
    2_000,
    'How far, in milliseconds, clocks may differ when validity times are checked. 2 s covers machines that keep time by NTP; 5 minutes is the most that is still a tolerance.',
  ),
  audience: field(
    'KMS_AUDIENCE',
    optionalLabel,
    '',
    'The name of this service in capabilities: one with the caveat `audience` holds only where that names this. Empty: such capabilities are refused.',
  ),
  rngReseedIntervalOps: field(
    'KMS_RNG_RESEED_INTERVAL_OPS',
    integer(1, 1_000_000_000),
    100_000,
    "Requests to the native engine's own random generator between two reseeds from the operating system: it makes seeds, secret keys, nonces and what ML-DSA signatures are hedged with. 100,000 keeps the cost of reseeding under a thousandth. RSA and ECDSA draw from AWS-LC's, which reseeds after 4,096 requests of a thread; the OpenSSL engine draws all from OpenSSL's, which reseeds after 65,536 or seven minutes. Nothing changes these two; `/version` shows what holds, under `engine.reseeds`.",
  ),
  queuePerTenant: field(
    'KMS_QUEUE_PER_TENANT',
    integer(1, 65_536),
    512,
    'Calls of one tenant that may wait; the next is answered 429 at once. 512 calls of 160 microseconds are 80 ms of work for one thread. Beside other tenants it is fewer when places get scarce: no more than are free.',
    'reload',
  ),
  queueTotal: field(
    'KMS_QUEUE_TOTAL',
    integer(1, 1_048_576),
    8_192,
    'Calls of all tenants that may wait; the next is answered 429 at once. At a few KiB each, 8,192 bound the memory of waiting calls to tens of MiB.',
    'reload',
  ),
  queueTargetMs: field(
    'KMS_QUEUE_TARGET_MS',
    integer(1, 60_000),
    5,
    'Milliseconds that calls of a tenant may go on waiting for a worker once it has had more than that waiting for 100 ms, or as long as two jobs take, whichever is more; further ones are answered 429, late. Shorter bursts may use their deadline, and a tenant that keeps to its share is not held to it. 5 ms keep workers busy and are what CoDel (RFC 8289) takes; a value of KMS_SIGN_DEADLINE_MS or more lets queues stand.',
    'reload',
  ),
  batchMaxItems: field(
    'KMS_BATCH_MAX_ITEMS',
    integer(1, 4_096),
    256,
    'Items that one batch request may hold. All of them wait in the queue of their tenant, so it cannot be more than KMS_QUEUE_PER_TENANT; 4,096 is what one job for a worker can carry.',
    'reload',
  ),
  signDeadlineMs: field(
    'KMS_SIGN_DEADLINE_MS',
    integer(10, 60_000),
    2_000,
    'Milliseconds after which a call that is still waiting for its signature is answered 504, and its work dropped. A caller that counts microseconds has given up long before 2 s.',
    'reload',
  ),
  defaultDeadlineMs: field(
    'KMS_DEFAULT_DEADLINE_MS',
    integer(1, 60_000),
    250,
    'Milliseconds that a call may take when it sends no X-Deadline-Ms; a call that would wait longer is answered 429 at once. A batch has KMS_SIGN_DEADLINE_MS. 250 ms is far more than a signature takes, and less than a person notices.',
    'reload',
  ),
  signRateLimit: field(
    'KMS_SIGN_RATE_LIMIT',
    integer(0, 1_000_000_000),
    500,
    'Signatures a second of one tenant, each item of a batch counted; 0 is no limit. As many may come at once. More is answered 429 RateLimited.',
    'reload',
  ),
  createRateLimit: field(
    'KMS_CREATE_RATE_LIMIT',
    integer(0, 1_000_000),
    100,
    'Keys and versions that one tenant may make in a second, creates and rotations together; 0 is no limit. Ten times as many may come at once. More is answered 429 RateLimited. 100 keys a second take the better part of an hour to fill a GiB, which leaves time to see it.',
    'reload',
  ),
  destroyRateLimit: field(
    'KMS_DESTROY_RATE_LIMIT',
    integer(0, 1_000_000),
    100,
    'Destructions a second of one tenant, of keys and of versions; 0 is no limit. As many may come at once. More is answered 429 RateLimited.',
    'reload',
  ),
  keysPerTenant: field(
    'KMS_KEYS_PER_TENANT',
    integer(1, 1_000_000_000),
    1_000_000,
    'Keys that one tenant may have, destroyed ones not counted; the next create is answered 409. After a start they are counted in the background, and until that is done there may be more. 1,000,000 keys are about 3 GiB.',
    'reload',
  ),
  rsaPool: field(
    'KMS_RSA_POOL',
    integer(0, 100_000),
    0,
    'RSA-2048 keys that are made before anyone asks for them, one at a time and only while the workers are idle, so that creating one takes no longer than another key. They lie sealed in the store, 2 KiB each, over restarts too, and each becomes one key of one tenant. 0: none are made.',
  ),
  rateLimits: field<readonly ScopeRate[]>(
    'KMS_RATE_LIMITS',
    scopeRates,
    { text: 'none', from: () => [] },
    'Further limits of one tenant, by scope and window: sign=1000000/d,verify=2000/s. All windows of a scope hold together, and with KMS_SIGN_RATE_LIMIT, KMS_CREATE_RATE_LIMIT and KMS_DESTROY_RATE_LIMIT. Each is a bucket that starts full and refills all the time, so that the first window may see up to twice its count, and counting starts anew with the process. What is refused does not count. None by default.',
    'reload',
  ),
  keyUsesPerDay: field(
    'KMS_KEY_USES_PER_DAY',
    integer(0, 1_000_000_000),
    0,
    'Uses of the private or secret key of one key in a day of UTC: signatures, tags and their verifications, encryptions, decryptions, wraps and unwraps; 0 is no limit. More is answered 429 RateLimited until midnight UTC. The count is durable and never exceeds the limit, over restarts and kill -9 too; a process that is killed may have counted up to a thirty-second of the limit too many.',
    'reload',
  ),
  placedKeyUsesPerDay: field(
    'KMS_M33_KEY_USES_PER_DAY',
    integer(0, 1_000_000_000),
    10_000,
    'Signatures and encryptions by one key of an environment and plane in a day of UTC, over all of its versions, where its access policy has no number of its own (`max_usage_per_day`); 0 is no limit. Verifications and decryptions do not count. The count is durable and never exceeds the limit, over restarts and kill -9 too; a process that is killed may have counted up to 100 uses too many.',
    'reload',
  ),
  rotation: field<Readonly<Record<string, number>>>(
    'KMS_ROTATION',
    algorithmDays,
    { text: 'off', from: () => ({}) },
    'Days after which the service itself replaces the current version of keys that are made from now on, by algorithm: rsa-2048=90,ed25519=365. A key whose policy has `rotate_after_days` has its own. Keys that are there already keep what they have, and an update never rotates one.',
    'reload',
  ),
  rotationGraceDays: field(
    'KMS_ROTATION_GRACE_DAYS',
    integer(0, 3_650),
    7,
    'Days after a rotation for which the versions before stay, whatever the policy of a key says of the number that it keeps (`keep_versions`).',
    'reload',
  ),
  tenantWeights: field<Readonly<Record<string, number>>>(
    'KMS_TENANT_WEIGHTS',
    tenantWeights,
    { text: 'none', from: () => ({}) },
    'Shares of the workers when they are all busy: acme=4 gets four times the time of a tenant without an entry, which has 1.',
    'reload',
  ),
  refusalsPerAddress: field(
    'KMS_REFUSALS_PER_ADDRESS',
    integer(1, 1_000_000),
    1_000,
    'Requests a second of one address that may be refused as unauthenticated or malformed; beyond that, capabilities that were never seen are not verified and connections are closed. 1,000 verifications cost 5 % of a processor.',
    'reload',
  ),
  keyCacheBytes: field(
    'KMS_KEY_CACHE_BYTES',
    integer(384 * kib, 1024 * mib),
    4 * mib,
    'Bytes of locked memory for opened private keys and all other secrets; least recently used keys are wiped first. 4 MiB fits the 8 MiB that Linux lets an ordinary process lock (RLIMIT_MEMLOCK) and holds about a thousand ML-DSA-65 keys, or 600 of RSA-2048, or 400 of RSA-4096; a signature with a key that was wiped takes a fifth (ML-DSA-65) to twice as long (RSA).',
  ),
  groupReadableSecrets: field(
    'KMS_GROUP_READABLE_SECRETS',
    boolean,
    false,
    'Lets the group of a secret file read and write it, and the group of its directory write there: what `fsGroup` of Kubernetes does to a volume at each start. Others are refused in any case.',
  ),
  allowCoreDumps: field(
    'KMS_ALLOW_CORE_DUMPS',
    boolean,
    false,
    "Leaves core dumps, debuggers of the same user, and Node's inspector, heap snapshots and diagnostic reports on. Otherwise Node's flags for these refuse the start, SIGUSR1 opens no inspector in any case, and the process is made undumpable (PR_SET_DUMPABLE) before it opens any secret, which needs the native addon; without it a log line says so, and only `ulimit -c 0` or `LimitCORE=0` of systemd keeps the kernel from writing one.",
  ),
  audit: field<'on' | 'off'>(
    'KMS_AUDIT',
    oneOf('on', 'off'),
    {
      text: 'on, or off with the memory store',
      from: ({ backend }) => (backend === 'memory' ? 'off' : 'on'),
    },
    'Whether every use and change of a key is recorded in the Merkle log under the data directory. `off` is only taken with KMS_BACKEND=memory: keys that outlive the process have a log that does.',
  ),
  auditDir: field(
    'KMS_AUDIT_DIR',
    path,
    { text: '<data dir>/audit', from: ({ dataDir }) => `${dataDir}/audit` },
    'The directory of the audit log, for a disk of its own. `audit.head` and `audit.secret` stay in the data directory, so that both are not restored together. Made with mode 0700 when it is missing; a log that is there is moved by hand while the service is stopped.',
  ),
  auditOrigin: field(
    'KMS_AUDIT_ORIGIN',
    origin,
    'localhost/intaglio/audit',
    'The name of the log, a URL without its scheme, as it stands in checkpoints and verifier keys. Give every node its own, and never change it: another name is another log.',
  ),
  auditDurability: field<'written' | 'synced' | 'witnessed'>(
    'KMS_AUDIT_DURABILITY',
    oneOf('written', 'synced', 'witnessed'),
    'written',
    'What the answer to a sign or verify waits for: `written` survives the end of the process, `synced` a power loss, `witnessed` the loss of the machine. Changes of keys are always at least `synced`.',
    'reload',
  ),
  auditInputHash: field<'hmac' | 'commit' | 'plain'>(
    'KMS_AUDIT_INPUT_HASH',
    oneOf('hmac', 'commit', 'plain'),
    'hmac',
    'How a record names the payload: `hmac` under a key of the tenant, `commit` with a salt for the caller, `plain` as the digest itself, which anyone with the log can compare.',
  ),
  auditKeyOverlapMs: field(
    'KMS_AUDIT_KEY_OVERLAP_MS',
    integer(0, 31_536_000_000),
    604_800_000,
    'Milliseconds for which new keys of the log sign its checkpoints beside the ones that they replace (`audit rotate-keys`). Then the old ones are destroyed. Witnesses need the new keys within that time, because they do not follow the log to them; a week is what people take.',
  ),
  auditRetention: field<Retention>(
    'KMS_AUDIT_RETENTION',
    retention,
    { days: 0 },
    'For how long records of the audit log stay where the service is. Full segments all of whose records are older are let go: a record of the log says so, and `intaglio audit archive` may move them elsewhere. The service itself deletes nothing. `7y` is what many rules ask; `none` keeps everything.',
  ),
  auditCheckpointRecords: field(
    'KMS_AUDIT_CHECKPOINT_RECORDS',
    integer(1, 1_000_000),
    5_000,
    'Records of the audit log after which a checkpoint is signed, at most ten a second. What no checkpoint covers, a rollback could take unseen.',
  ),
  auditCheckpointIntervalMs: field(
    'KMS_AUDIT_CHECKPOINT_INTERVAL_MS',
    integer(100, 60_000),
    1_000,
    'Milliseconds after the first record that no checkpoint covers until one is signed all the same. An answer that waits for `witnessed` waits about so long; 1 s costs a thousandth of a core.',
  ),
  auditWitnessPolicy: field(
    'KMS_AUDIT_WITNESS_POLICY',
    path,
    'none',
    'A file in the form of C2SP tlog-policy that names witnesses and a quorum; `none` asks no witness.',
  ),
  auditWitnessFailure: field<'open' | 'closed'>(
    'KMS_AUDIT_WITNESS_FAILURE',
    oneOf('open', 'closed'),
    'open',
    'When the quorum cannot be had: `open` goes on with a warning, `closed` refuses new signatures until it is there.',
  ),
  policyFile: field(
    'KMS_POLICY_FILE',
    path,
    'none',
    'A YAML file with identities (who gets a capability for a certificate, a JSON Web Token or a uid) and rules (what capabilities are allowed beyond themselves); docs/policy.md. Read again on SIGHUP and when it changes. `none`: capabilities alone decide.',
  ),
  policyUrl: field(
    'KMS_POLICY_URL',
    httpUrl,
    'none',
    'The address of a decision in the Data API of an Open Policy Agent, such as http://127.0.0.1:8181/v1/data/intaglio/decision, that is asked instead of rules. An answer is waited for 50 ms and kept for 5 s; without one the call is denied.',
  ),
  ...pqFields,
  ...backendFields,
  ...dekFields,
  ...tokenFields,
  ...m33Fields,
  ...identityFields,
  ...tpmFields,
  shutdownTimeoutMs: field(
    'KMS_SHUTDOWN_TIMEOUT_MS',
    integer(100, 600_000),
    5_000,
    'Milliseconds that calls under way get to finish after SIGTERM. 5 s is more than the longest deadline of a call, and less than the 10 s after which container runtimes kill.',
    'reload',
  ),
  maxConnections: field(
    'KMS_MAX_CONNECTIONS',
    integer(1, 65_535),
    1_024,
    'Connections that may be open at once; further ones are closed unanswered, but for 16 of addresses that have at most two, so that a health check finds a place. Where the limit of open files (RLIMIT_NOFILE) leaves fewer, beside what the service has open and 64 for its files, it is lowered to that, and a log line says so. 1,024 idle connections cost some MiB.',
  ),
  maxConnectionsPerAddress: field(
    'KMS_MAX_CONNECTIONS_PER_ADDRESS',
    integer(0, 65_535),
    0,
    'Connections of one IPv4 address, or of one /64 of IPv6, that may be open at once; 0 is half of KMS_MAX_CONNECTIONS, so that nobody can take all places alone: an idle connection is only ended after 32 s. Behind a proxy, whose address all have, set it to KMS_MAX_CONNECTIONS. Held on Linux only.',
  ),
  metricsNames: field<'admin' | 'open'>(
    'KMS_METRICS_NAMES',
    oneOf('admin', 'open'),
    'admin',
    'Who sees tenants and purposes in `/metrics`: `admin` leaves these labels out, and sums the series, unless the scrape carries a capability with kms:admin; `open` shows them to everybody who reaches the port.',
    'reload',
  ),
  logLevel: field(
    'KMS_LOG_LEVEL',
    oneOf('trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'),
    'info',
    'The least severe entries that are written to standard output, one JSON object a line.',
    'reload',
  ),
  redactLevel: field(
    'KMS_REDACT_LEVEL',
    oneOf('hashes', 'lengths', 'names'),
    'hashes',
    'What the log leaves out beyond secrets and payloads, which are never in it. `hashes`: nothing more; a payload may appear as its digest and its length. `lengths`: digests of payloads too, because who can guess a payload can compare it. `names`: also tenants, keys, callers and addresses, each shown as a hash under a key that is made at the start, so that lines of one process can be matched and nothing else.',
    'reload',
  ),
  correlationIdMode: field(
    'KMS_CORRELATION_ID_MODE',
    oneOf('passthrough', 'uuidv7'),
    'passthrough',
    'What becomes of a request without a usable X-Corr-Id: `passthrough` leaves it without one, `uuidv7` makes one (RFC 9562), for the answer and the log. One that came is passed on in either case.',
    'reload',
  ),
  telemetryService: field(
    'KMS_TELEMETRY_SERVICE',
    label,
    'intaglio',
    'What the field `service` of the log and the label `service` of metrics say, so that several services in one store of logs and metrics can be told apart. Dashboards and alerts that ask for another value need it here.',
  ),
};

export type FieldName = keyof typeof fields;

/** The settings of one process. Deeply frozen. */
export type Config = {
  readonly [Name in FieldName]: (typeof fields)[Name] extends Field<infer T> ? T : never;
};

export const fieldNames = Object.keys(fields) as readonly FieldName[];

/** `KMS_DATA_DIR` is `--data-dir` on the command line. */
export function flagOf(name: FieldName): string {
  return `--${fields[name].variable.slice(4).toLowerCase().replaceAll('_', '-')}`;
}

/** `KMS_DATA_DIR` is `data_dir` in a file. */
export function memberOf(name: FieldName): string {
  return fields[name].variable.slice(4).toLowerCase();
}

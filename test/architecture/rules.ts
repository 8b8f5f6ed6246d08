/** The import table of the code: which rooms there are, and who may lean on whom. */

/**
 * The rooms from the ground up. A room may import the rooms of the levels below its own, never one above, and one on
 * its own level only where `neighbours` says so. A folder or file of src/ without a row here may not exist.
 */
export const levels: readonly (readonly string[])[] = [
  ['core'],
  ['algorithms', 'store', 'auth', 'admission', 'queue', 'observe', 'config', 'keys', 'events'],
  ['engine', 'policy', 'trust', 'audit', 'custody', 'dispatch'],
  // Threads of their own: they run engines and own sessions, and know nothing of operations or HTTP.
  ['workers', 'webhooks'],
  ['operations'],
  ['request-path'],
  // Chooses implementations.
  ['assemble'],
  // Data directories as a whole, whose service is elsewhere or stopped.
  ['backup'],
  // Everything but doors and process: knows no address, no route and no HTTP.
  ['service'],
  // The same without HTTP, for the process that imports it.
  ['library'],
  // Other wire protocols than HTTP/1.1, each with a door of its own.
  ['http', 'grpc'],
  // Chooses wire formats.
  ['surfaces'],
  ['main'],
  ['index'],
  ['cli'],
];

/**
 * Folders inside a room that are its parts and not implementations of one interface, each with those that it may import.
 * Files directly in the room are interfaces between them: every part may use these, and they may use types of every part.
 */
export const wings: Readonly<Record<string, Readonly<Record<string, readonly string[]>>>> = {
  admission: { 'flood-guard': [] },
  core: { process: [], sockets: [] },
  audit: {
    format: [],
    disk: ['format'],
    reading: ['format', 'disk'],
    writer: ['format', 'disk'],
    service: ['format', 'disk', 'reading'],
    witness: ['format', 'reading'],
    lines: ['reading'],
  },
  client: { dek: [] },
  observe: { series: [] },
  operations: {
    formats: [],
    sealing: [],
    recording: [],
    receipts: ['recording'],
    lifecycle: ['sealing'],
    trust: ['formats', 'lifecycle'],
    deks: ['sealing'],
  },
  keys: { lifecycle: [] },
  config: { tokens: [], identity: [], m33: [], deks: [] },
};

/** Files directly in a room that list what its wings offer, and so use more than their types. */
export const wingListers: ReadonlySet<string> = new Set([
  'src/operations/operations.ts',
  'src/client/index.ts',
  'src/keys/open-keyring.ts',
  'src/keys/codec.ts',
  'src/config/fields.ts',
  'src/config/load.ts',
  'src/config/rules.ts',
]);

/** Folders whose folders are implementations, each on its own: src/<room>/<folder>/<way>/…, and none may use another. */
export const shelves: ReadonlySet<string> = new Set(['http/dialects']);

/**
 * Words of the wire: paths and members of requests and answers. The command line and the client speak to a service, the log redacts and names them, and
 * caveats are words of tokens.
 */
export const wireWords = {
  pattern: /\/v1\/kms|\w_b(?:3|64)\b/,
  owners: ['src/http/dialects/', 'src/cli/', 'src/client/', 'src/observe/', 'src/auth/macaroon/'],
} as const;

/** Published to other services, so it stands alone: nothing of the server may be needed to install it. */
export const standalone = new Set(['client']);

/** The command line asks a service as others do. */
export const mayUseStandalone = new Set(['cli']);

/** Imports between rooms of one level: only of the files directly in the other room, which are its interfaces. */
export const neighbours: Readonly<Record<string, Readonly<Record<string, 'any' | 'types'>>>> = {
  admission: { store: 'types' },
  auth: { admission: 'any', config: 'types', store: 'types' },
  keys: { algorithms: 'any', store: 'types' },
  custody: { dispatch: 'any', engine: 'any' },
  dispatch: { engine: 'any' },
};

/** Who may name an implementation, src/<room>/<way>/…: those who choose one. */
export const mayNameImplementations = new Set([
  ...['assemble', 'backup', 'service', 'surfaces', 'main', 'cli', 'workers'],
]);

/** Folders whose files only one place lists, so that adding one of a kind touches it and nothing else. */
export const soleListers: Readonly<Record<string, string>> = {
  'src/http/listeners/': 'src/main.ts',
};

/** Packages that only one place knows, so that they can be replaced there. */
export const packageOwners: Readonly<Record<string, readonly string[]>> = {
  'uWebSockets.js': ['src/http/listeners/uws.ts'],
  '@grpc/grpc-js': [
    'src/grpc/kms-v2/door.ts',
    'src/custody/root-key/gcp/index.ts',
    'test/grpc/kms-v2-client.ts',
  ],
  '@grpc/proto-loader': ['src/grpc/kms-v2/protocol.ts'],
  undici: ['src/client/transport.ts', 'bench/scenarios/client.ts'],
  koffi: ['src/core/sockets/peer-credentials.ts'],
  '@opentelemetry/api': ['src/observe/tracing.ts'],
  piscina: ['src/dispatch/pool.ts'],
  'age-encryption': ['src/custody/root-key/age.ts'],
  '@aws-sdk/client-kms': ['src/custody/root-key/aws/index.ts', 'test/custody/cloud/moto.ts'],
  '@google-cloud/kms': ['src/custody/root-key/gcp/index.ts', 'test/custody/cloud/fake-cloud-kms.ts'],

  '@azure/keyvault-keys': ['src/custody/root-key/azure/index.ts'],
  '@azure/identity': ['src/custody/root-key/azure/index.ts'],
  pkcs11js: ['src/custody/pkcs11/cryptoki.ts'],
};

/** The native addon is loaded by path; whoever names the path loads it. */
export const addon = {
  pattern: /intaglio_native|native\/build\//,
  owners: ['src/engine/native/', 'src/engine/system-calls.ts', 'workers/'],
} as const;

/** A package has them compiled, under other names: who starts a thread asks for its entry. */
export const threadEntries = {
  pattern: /\bworkers\/[\w-]+\.ts$/,
  owner: 'src/core/own-package.ts',
} as const;

/** Past it a file has more than one subject. */
export const maxLines = 500;

/** Past it a folder of src/ is no longer read at a glance. */
export const maxFilesOfFolder = 20;

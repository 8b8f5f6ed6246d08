import { withoutComment } from './commands.ts';

/** A command of the docs that the walk over the pages does not run. */
export interface Exception {
  readonly page: string;
  /** Without its comment; its beginning alone where it ends with `…`. */
  readonly command: string;
  readonly reason: string;
  /** The file that runs it, or does the same. */
  readonly ranBy?: string;
}

const needs = (page: string, reason: string, ...commands: readonly string[]) =>
  commands.map((command): Exception => ({ page, command, reason }));

export const exceptions: readonly Exception[] = [
  {
    page: 'README.md',
    command: 'npm start',
    reason: 'serves from a checkout of its own',
    ranBy: 'test/docs/newcomer.test.ts',
  },
  ...needs('README.md', 'is what runs this test', 'npm test'),
  {
    page: 'docs/attestation.md',
    command: 'intaglio attest --kid "$KID" --verify --keys audit.vkeys --tpm "$TPM"',
    reason: 'needs a key in a TPM',
    ranBy: 'test/path/tpm.test.ts',
  },
  {
    page: 'docs/audit-verify.md',
    command: 'go run github.com/transparency-dev/tessera…',
    reason: 'needs Go and the network',
    ranBy: 'test/audit/interop/run.ts',
  },
  ...needs('docs/audit-verify.md', 'needs Go and the network', 'npm run audit:interop'),
  {
    page: 'docs/audit.md',
    command: 'npm run -s intaglio -- audit export data/audit --format ocsf --follow…',
    reason: 'follows until it is ended, and names a program of the reader',
    ranBy: 'test/audit/export/follow.test.ts',
  },
  ...needs(
    'docs/audit.md',
    'needs Python packages of the network',
    'npm run -s intaglio -- audit export data/audit --format ocsf | python3…',
  ),
  {
    page: 'docs/dek.md',
    command: 'openssl rand -hex 32 | sed…',
    reason: 'writes beside the reader',
    ranBy: 'test/cli/dek/serve-dek.test.ts',
  },
  {
    page: 'docs/dek.md',
    command: 'install -d -m 2710…',
    reason: 'needs root, and users of a database',
    ranBy: 'test/cli/dek/peer-roles.test.ts',
  },
  {
    page: 'docs/dek.md',
    command: 'intaglio serve-dek…',
    reason: 'serves until it is ended, from an installed package',
    ranBy: 'test/deploy/dek.test.ts',
  },
  {
    page: 'docs/dek.md',
    command: 'curl --unix-socket…',
    reason: 'asks the service of the line before',
    ranBy: 'test/cli/dek/serve-dek.test.ts',
  },
  {
    page: 'docs/receipts.md',
    command: 'npm run -s intaglio -- receipt verify receipt.json…',
    reason: 'needs a receipt of /kms/v1',
    ranBy: 'test/path/receipts.test.ts',
  },
  {
    page: 'docs/cloud-roots.md',
    command: 'npm run -s intaglio -- root init --aws-kms…',
    reason: 'needs a key at AWS',
    ranBy: 'test/cli/root-cloud.test.ts',
  },
  ...needs(
    'docs/cloud-roots.md',
    'needs a key at the provider',
    ...['npm run -s intaglio -- root init --gcp-kms…', 'npm run -s intaglio -- root init --azure-key…'],
  ),
  ...needs('docs/cloud-roots.md', 'needs docker', 'docker build…'),
  ...needs('docs/deploy.md', 'needs docker', 'docker build…', 'docker run…', 'docker compose…'),
  ...needs('docs/deploy.md', 'takes an hour, and the network', 'npm run drill:image…'),
  ...needs(
    'docs/deploy.md',
    'changes the machine, as root, and needs systemd',
    ...['useradd…', 'git clone…', 'install -d…', 'cp deploy/systemd…', 'cat /var/lib/intaglio…'],
  ),
  {
    page: 'docs/fairness.md',
    command: 'npm run sim',
    reason: 'takes a minute',
    ranBy: 'test/simulator/simulation.test.ts',
  },
  {
    page: 'docs/fairness.md',
    command: 'npm run sim -- --scenario overload…',
    reason: 'takes a minute on a busy machine',
    ranBy: 'test/simulator/command.test.ts',
  },
  {
    page: 'docs/hsm.md',
    command: 'softhsm2-util --init-token…',
    reason: 'needs SoftHSM2',
    ranBy: 'test/support/softhsm.ts',
  },
  ...needs('docs/listeners.md', 'needs Go and the network', 'npm run listeners:go'),
  ...needs('docs/models.md', 'installs packages, as root', 'apt-get install…'),
  {
    page: 'docs/models.md',
    command: 'npm run model',
    reason: 'takes minutes, and needs spin',
    ranBy: 'test/models/audit-log.test.ts',
  },
  {
    page: 'docs/models.md',
    command: 'npm run model -- --only…',
    reason: 'needs spin',
    ranBy: 'test/models/audit-log.test.ts',
  },
  ...needs('docs/performance.md', 'takes a quarter of an hour', 'npm run bench'),
  ...needs(
    'docs/performance.md',
    'takes minutes, and measures nothing beside other tests',
    ...['npm run bench -- saturation fairness', 'npm run bench -- --quick', 'npm run slo…'],
  ),
  ...needs('docs/performance.md', 'needs somebody who ends it', 'NODE_OPTIONS=…'),
  ...needs('docs/signing.md', 'needs Java and the network', 'mvn dependency:get…', 'npm exec -- node test…'),
  ...needs('docs/telemetry.md', 'needs the network', 'npm install --no-save…'),
  {
    page: 'docs/telemetry.md',
    command: 'OTEL_EXPORTER_OTLP_ENDPOINT…',
    reason: 'serves until it is ended',
    ranBy: 'test/path/opentelemetry.test.ts',
  },
];

export function exceptionOf(page: string, command: string): Exception | undefined {
  const bare = withoutComment(command);
  return exceptions.find(
    (one) =>
      one.page === page &&
      (one.command.endsWith('…') ? bare.startsWith(one.command.slice(0, -1)) : bare === one.command),
  );
}

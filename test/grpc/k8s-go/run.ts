import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { dekConfig, startDekService } from '../../support/serve-dek.ts';

// `npm run k8s:go`: the code of kube-apiserver keeps objects by our KMS v2 plugin. Needs Go 1.26 or newer, and its module proxy.

const directory = mkdtempSync(join(tmpdir(), 'intaglio-k8s-'));
const driver = join(directory, 'driver');

async function run(command: string, args: readonly string[], cwd?: string): Promise<void> {
  const [status] = await once(spawn(command, args, { stdio: 'inherit', cwd }), 'close');
  if (status !== 0) throw new Error(`${command} ${args.join(' ')}: exit status ${status}`);
}

const socket = join(directory, 'kms-v2', 'kms.sock');
const encryption = join(directory, 'encryption.yaml');
writeFileSync(
  encryption,
  `kind: EncryptionConfiguration
apiVersion: apiserver.config.k8s.io/v1
resources:
  - resources: [secrets]
    providers:
      - kms: {apiVersion: v2, name: intaglio, endpoint: 'unix://${socket}', timeout: 10s}
`,
);
const config = dekConfig(directory, 'dek.yaml');
const serve = () => startDekService(directory, config, {}, undefined, ['--kms-v2-socket', socket]);
const drive = (...args: string[]) => run(driver, [args[0] as string, encryption, ...args.slice(1)]);
const [first, second] = [join(directory, 'first.json'), join(directory, 'second.json')];

let kms: Awaited<ReturnType<typeof serve>> | undefined;
try {
  await run('go', ['build', '-o', driver, '.'], import.meta.dirname);
  kms = await serve();
  await drive('write', first);
  // As after a restart of kube-apiserver, whose cache is empty.
  await drive('read', first, 'false');
  const { status } = await kms.ask('/rotate_kek', {});
  if (status !== 200) throw new Error(`/rotate_kek: ${status}`);
  await drive('read', first, 'true');
  await drive('write', second);
  await kms.process.stop();
  await drive('unhealthy');
  kms = await serve();
  await drive('read', first, 'true');
  await drive('read', second, 'false');
  process.stdout.write('kube-apiserver writes and reads, over a rotation and a restart\n');
} finally {
  await kms?.process.stop();
  rmSync(directory, { recursive: true });
}

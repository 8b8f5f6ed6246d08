import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  chmodSync,
  chownSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';

/**
 * Carries out the Dockerfile without Docker, as root: each stage is a tree of Debian trixie from debootstrap, RUN is a chroot,
 * COPY takes what git knows. In the end the image's program serves there as its user, and its health check asks it; and serve-dek
 * serves, whose calls the image's own client makes.
 * The directory that is given is kept, so that a second run need not load Debian again.
 */

const [where] = process.argv.slice(2);
if (where === undefined || process.geteuid?.() !== 0) {
  process.stderr.write('as root: npm run drill:image -- <directory for the trees of the stages>\n');
  process.exit(1);
}
const root = join(import.meta.dirname, '..', '..');
const base = join(where, 'trixie');

/** A build of Docker has of the machine's environment only what its proxies need: nothing of the npm that runs this. */
const proxies = Object.fromEntries(
  Object.entries(process.env).filter(([name]) =>
    /(_proxy|_certs?|cert_file|cert_dir|ca_bundle)$/i.test(name),
  ),
);

function run(command: string, args: readonly string[], env: NodeJS.ProcessEnv = process.env): void {
  const { status } = spawnSync(command, args, { stdio: 'inherit', env });
  if (status !== 0) throw new Error(`${command} ${args.slice(0, 4).join(' ')} ended with ${status}`);
}

/**
 * A command in the tree as its root. The mounts are of a namespace of its own: nothing stays mounted when the command ends,
 * however it does. `writable` are the only places of the tree that can be written, where they are given.
 */
function inside(
  tree: string,
  directory: string,
  command: string,
  environment: NodeJS.ProcessEnv,
  writable?: readonly string[],
): void {
  const volumes = writable?.map((place) => `mount --bind '${tree}${place}' '${tree}${place}' && `);
  const readOnly = `mount --bind "$1" "$1" && ${volumes?.join('')} mount -o remount,bind,ro "$1" &&`;
  // Certificates of this machine, which may be behind a proxy that has its own.
  const certificates = '/etc/ssl/certs/ca-certificates.crt';
  const script = `cp /etc/resolv.conf "$1/etc/resolv.conf" &&
    { [ ! -e "$1${certificates}" ] || mount --bind ${certificates} "$1${certificates}"; } && ${writable === undefined ? '' : readOnly}
    mount -t proc proc "$1/proc" && mount --rbind /dev "$1/dev" && cd "$1" &&
    exec chroot . /bin/bash -o pipefail -c 'cd "$0" && eval "$1"' "$2" "$3"`;
  run(
    'unshare',
    ['--mount', '--pid', '--fork', 'bash', '-c', script, 'bash', tree, directory, command],
    environment,
  );
}

if (!existsSync(join(base, 'etc', 'debian_version'))) {
  run('debootstrap', ['--variant=minbase', 'trixie', base, 'http://deb.debian.org/debian']);
}

const text = readFileSync(join(root, 'Dockerfile'), 'utf8');
const instructions = text
  .split('\n')
  .filter((line) => !line.startsWith('#'))
  .join('\n')
  .replaceAll('\\\n', ' ')
  .split('\n')
  .filter((line) => line !== '');
const stages: string[] = [];
const env: Record<string, string> = { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' };
let workdir = '/';
const shown = { ENTRYPOINT: '[]', HEALTHCHECK: '' };

for (const line of instructions) {
  const [, name = '', rest = ''] = /^([A-Z]+) +(.*)$/.exec(line) ?? [];
  const tree = join(where, `stage-${stages.length}`);
  if (name === 'FROM') {
    stages.push(join(where, `stage-${stages.length + 1}`));
    rmSync(stages.at(-1) ?? '', { recursive: true, force: true });
    run('cp', ['--archive', base, stages.at(-1) ?? '']);
    workdir = '/';
  } else if (name === 'RUN') {
    process.stdout.write(`RUN ${rest}\n`);
    inside(tree, workdir, rest, { ...proxies, ...env });
  } else if (name === 'WORKDIR') {
    workdir = rest;
    mkdirSync(join(tree, workdir), { recursive: true });
  } else if (name === 'COPY') {
    const from = rest.startsWith('--from=build ') ? stages[0] : undefined;
    const paths = rest.replace('--from=build ', '').split(' ');
    const to = join(tree, workdir, paths.at(-1) ?? '');
    for (const path of paths.slice(0, -1)) copy(from, path, to, paths.length > 2);
  } else if (name === 'ENV') {
    for (const [, key = '', value = ''] of rest.matchAll(/(\w+)=(\S+)/g))
      env[key] = value.includes('$') ? '' : value;
  } else if (name in shown) shown[name as keyof typeof shown] = rest;
}

function copy(from: string | undefined, path: string, to: string, several: boolean): void {
  if (from !== undefined) {
    mkdirSync(join(to, '..'), { recursive: true });
    run('cp', ['--archive', '--no-target-directory', join(from, path), to]);
    return;
  }
  // The context is what git knows: like .dockerignore, that leaves data and build products out.
  const files = spawnSync('git', ['ls-files', '-z', '--', path], {
    cwd: root,
    encoding: 'utf8',
  }).stdout.split('\0');
  for (const file of files.filter((entry) => entry !== '')) {
    const target = several ? join(to, file) : join(to, file.slice(path.length));
    cpSync(join(root, file), target);
  }
}

const [program, ...flags] = JSON.parse(shown.ENTRYPOINT) as string[];
const image = stages.at(-1) ?? '';
const volume = env.KMS_DATA_DIR ?? '';
const asUser = 'setpriv --reuid 10001 --regid 10001 --clear-groups --no-new-privs';
const healthCheck = (JSON.parse(shown.HEALTHCHECK.replace(/^.*CMD /, '')) as string[]).join(' ');

/** The image's program with this command, until its check holds; then `use` asks it, and it is told to stop. */
function serves(command: string, check: string, use: string, environment: NodeJS.ProcessEnv): void {
  inside(
    image,
    workdir,
    `${asUser} ${[program, ...flags, command].join(' ')} &
   for try in 1 2 3 4 5 6 7 8 9 10; do sleep 1; if ${check}; then healthy=yes; break; fi; done
   touch /opt/intaglio/written 2>/dev/null && healthy=no
   [ "$healthy" = yes ] && { ${use}; } || healthy=no
   kill -TERM $! && wait $! && [ "$healthy" = yes ]`,
    environment,
    [volume, socketVolume],
  );
}

const socketVolume = '/run/intaglio';
serves('serve', healthCheck, 'true', { ...env, KMS_LISTEN: 'http://127.0.0.1:7441' });
const kept = readdirSync(join(image, volume)).join(', ');
process.stdout.write(`the image's program was healthy, and stopped; its volume holds ${kept}\n`);

const dekConfig = '/etc/intaglio-dek.json';
writeFileSync(join(image, dekConfig), JSON.stringify({ master_key_hex: randomBytes(32).toString('hex') }));
chmodSync(join(image, dekConfig), 0o600);
chownSync(join(image, dekConfig), 10_001, 10_001);
const socket = `${socketVolume}/dek.sock`;
const dekCalls = `
import { DekClient } from "/opt/intaglio/src/client/index.ts";
const kms = new DekClient({ url: "unix:${socket}" });
const { keyId } = await kms.createDekForThread("drill");
const ciphertext = await kms.encrypt(keyId, Buffer.from("of the image"), Buffer.from("aad"));
const { kekVersion } = await kms.rotateKek();
const plaintext = await kms.decrypt(keyId, ciphertext, Buffer.from("aad"));
await kms.close();
if (Buffer.from(plaintext).toString() !== "of the image" || kekVersion !== 2) throw new Error("serve-dek is wrong");
console.log(keyId, Buffer.from(ciphertext).toString("base64"));`;
// Its settings are the image's own: the flags come before KMS_LISTEN and KMS_DATA_DIR.
serves(
  `serve-dek --socket ${socket} --data-dir ${volume}/dek --config ${dekConfig}`,
  healthCheck.replace(/http:\S+/, `unix:${socket}`),
  `${asUser} ${program} --input-type=module --eval '${dekCalls}'`,
  { ...env, KMS_LISTEN: 'http://0.0.0.0:7441?insecure' },
);
const dekFiles = readdirSync(join(image, volume, 'dek')).join(', ');
process.stdout.write(
  `serve-dek of the image made a DEK, encrypted and decrypted; its directory holds ${dekFiles}\n`,
);

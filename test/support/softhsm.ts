import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '../../src/core/clock.ts';
import type { Attribute, Cryptoki, Handle } from '../../src/custody/pkcs11/cryptoki.ts';
import { Pkcs11Home } from '../../src/custody/pkcs11/index.ts';
import { sessionFlags, userType } from '../../src/custody/pkcs11/numbers.ts';
import type { TokenSettings } from '../../src/custody/pkcs11/protocol.ts';

/** The places of Debian, and of Fedora and Arch. */
const modules = [
  '/usr/lib/softhsm/libsofthsm2.so',
  '/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so',
  '/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so',
  '/usr/lib64/softhsm/libsofthsm.so',
  '/usr/lib/libsofthsm2.so',
];

export const softHsmModule = modules.find((path) => existsSync(path));

/** The reason to skip a test with a real token; false where it can run. */
export const noSoftHsm: string | false =
  softHsmModule === undefined ? 'SoftHSM2 is not installed: apt-get install softhsm2' : false;

export interface SoftToken {
  readonly label: string;
  readonly serial: string;
  readonly pinFile: string;
}

/** SoftHSM2 with a directory of its own, for this process and those that it starts from now on. */
export interface SoftHsm {
  readonly directory: string;
  /** The directory of the tokens, which a test may move away and back. */
  readonly tokens: string;
  readonly configuration: string;
  makeToken(label: string, pin?: string): SoftToken;
  settings(token: SoftToken, more?: Partial<TokenSettings>): TokenSettings;
  /** The settings of a service whose backend `pkcs11` is this token. */
  environment(token: SoftToken): Record<string, string>;
  remove(): void;
}

export function createSoftHsm(): SoftHsm {
  const directory = mkdtempSync(join(tmpdir(), 'intaglio-softhsm-'));
  const tokens = join(directory, 'tokens');
  const configuration = join(directory, 'softhsm2.conf');
  mkdirSync(tokens);
  writeFileSync(
    configuration,
    `directories.tokendir = ${tokens}\nobjectstore.backend = file\nlog.level = ERROR\nslots.removable = false\n`,
  );
  const before = process.env.SOFTHSM2_CONF;
  process.env.SOFTHSM2_CONF = configuration;
  return {
    ...{ directory, tokens, configuration },
    makeToken(label, pin = '123456') {
      const run = (...flags: string[]) =>
        execFileSync('softhsm2-util', flags, {
          env: { ...process.env, SOFTHSM2_CONF: configuration },
          encoding: 'utf8',
        });
      run('--init-token', '--free', '--label', label, '--so-pin', '12345678', '--pin', pin);
      const pinFile = join(directory, `${label}.pin`);
      writeFileSync(pinFile, `${pin}\n`, { mode: 0o600 });
      return { label, serial: serialOf(run('--show-slots'), label), pinFile };
    },
    settings: ({ label, pinFile }, more) => ({
      ...{ module: softHsmModule ?? '', token: { label }, pinFile, sessions: 4 },
      ...{ groupReadableSecrets: false, ...more },
    }),
    environment: ({ label, pinFile }) => ({
      KMS_PKCS11_MODULE: softHsmModule ?? '',
      KMS_PKCS11_TOKEN: label,
      KMS_PKCS11_PIN_FILE: pinFile,
    }),
    remove() {
      if (before === undefined) delete process.env.SOFTHSM2_CONF;
      else process.env.SOFTHSM2_CONF = before;
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

/** Of what softhsm2-util shows of its slots. */
function serialOf(shown: string, label: string): string {
  const slot = shown.split(/^Slot /m).find((text) => new RegExp(`Label:\\s+${label}\\s*$`, 'm').test(text));
  const serial = /Serial number:\s+(\S+)/.exec(slot ?? '')?.[1];
  if (serial === undefined) throw new Error(`softhsm2-util shows no token ${label}`);
  return serial;
}

/** The worker of the service. */
export const hsmEntry = new URL('../../workers/hsm.ts', import.meta.url);

/** A home that has tried once to open its token. */
export async function openHome(settings: TokenSettings, backend = 'pkcs11'): Promise<Pkcs11Home> {
  const home = new Pkcs11Home({
    ...{ backend, settings, clock: systemClock },
    ...{ entry: hsmEntry, allowCoreDumps: true, environment: process.env },
  });
  await home.open();
  return home;
}

/** A session of another program that knows the PIN, to look at what is in the token. */
export interface TokenSession {
  readonly cryptoki: Cryptoki;
  readonly session: Handle;
  /** Objects that fit. */
  find(template: readonly Attribute[]): readonly Handle[];
  close(): void;
}

/** In this process, whose module then belongs to this directory of tokens. */
export async function openSession(label: string, pin = '123456'): Promise<TokenSession> {
  const { PKCS11 } = (await import('pkcs11js')).default;
  const cryptoki = new PKCS11() as unknown as Cryptoki;
  cryptoki.load(softHsmModule ?? '');
  cryptoki.C_Initialize({ flags: 2 });
  const slot = cryptoki
    .C_GetSlotList(true)
    .find((each) => cryptoki.C_GetTokenInfo(each).label.trimEnd() === label);
  if (slot === undefined) throw new Error(`there is no token ${label}`);
  const session = cryptoki.C_OpenSession(slot, sessionFlags.rw | sessionFlags.serial);
  cryptoki.C_Login(session, userType, pin);
  return {
    ...{ cryptoki, session },
    find(template) {
      cryptoki.C_FindObjectsInit(session, template);
      try {
        return cryptoki.C_FindObjects(session, 1_000);
      } finally {
        cryptoki.C_FindObjectsFinal(session);
      }
    },
    close: () => cryptoki.C_Finalize(),
  };
}

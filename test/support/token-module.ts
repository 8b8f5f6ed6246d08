import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TokenSettings } from '../../src/custody/pkcs11/protocol.ts';

const source = join(import.meta.dirname, 'token-module', 'token.c');

/** The reason to skip a test with the module; false where it can be built. */
export const noCompiler: string | false =
  spawnSync('cc', ['--version']).status === 0 ? false : 'there is no C compiler: apt-get install gcc';

/** Faults of the module, see the head of its source. */
export interface TokenFaults {
  readonly hang?: string;
  readonly drop_idle_ms?: number;
  readonly removed?: 1;
  readonly host_memory?: string;
  readonly pin?: string;
}

/** A token of a test, made of C: Ed25519, P-256, RSA and ML-DSA, and every fault on demand. */
export interface TokenModule {
  readonly settings: TokenSettings;
  /** The settings of a service whose backend `pkcs11` is this token. */
  readonly environment: Readonly<Record<string, string>>;
  /** These faults and no others, from now on. */
  set(faults: TokenFaults): void;
  /** Tries to log in by another PIN than the token's. */
  readonly wrongPins: number;
  remove(): void;
}

/** Built and steered in a directory of its own; for this process and those that it starts from now on. */
export function createTokenModule(sessions = 4): TokenModule {
  const directory = mkdtempSync(join(tmpdir(), 'intaglio-token-'));
  const module = join(directory, 'token.so');
  const control = join(directory, 'control');
  const pinFile = join(directory, 'pin');
  // OpenSSL's functions stay undefined: they are those of Node.
  const { status, stderr } = spawnSync('cc', ['-shared', '-fPIC', '-O1', '-o', module, source]);
  if (status !== 0) throw new Error(`the module cannot be built: ${stderr}`);
  writeFileSync(pinFile, '123456\n', { mode: 0o600 });
  const set = (faults: TokenFaults) => {
    const lines = Object.entries({ pin: '123456', ...faults }).map(([name, value]) => `${name}=${value}\n`);
    writeFileSync(control, lines.join(''));
  };
  set({});
  const before = process.env.TOKEN_MODULE_CONTROL;
  process.env.TOKEN_MODULE_CONTROL = control;
  return {
    settings: { module, token: { label: 'test' }, pinFile, sessions, groupReadableSecrets: false },
    environment: {
      KMS_PKCS11_MODULE: module,
      KMS_PKCS11_TOKEN: 'test',
      KMS_PKCS11_PIN_FILE: pinFile,
    },
    set,
    get wrongPins() {
      return existsSync(`${control}.pins`) ? readFileSync(`${control}.pins`).length : 0;
    },
    remove() {
      if (before === undefined) delete process.env.TOKEN_MODULE_CONTROL;
      else process.env.TOKEN_MODULE_CONTROL = before;
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

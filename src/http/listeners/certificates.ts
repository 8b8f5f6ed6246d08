import { X509Certificate } from 'node:crypto';
import { unwatchFile, watchFile } from 'node:fs';
import { createSecureContext, type SecureContextOptions } from 'node:tls';
import { readRegularFile } from '../../core/private-file.ts';
import { judgeSecretFile, type SecretRule } from '../../core/secret-file.ts';
import { StartError } from '../../core/start-error.ts';

export interface CertificateFiles {
  readonly certFile: string;
  readonly keyFile: string;
  /** The authorities of client certificates, where they are asked for. */
  readonly clientCaFile: string | undefined;
}

/** The TLS of every https listener. X25519MLKEM768 comes first: draft-ietf-tls-ecdhe-mlkem. */
const tlsSettings = {
  minVersion: 'TLSv1.3',
  maxVersion: 'TLSv1.3',
  ecdhCurve: 'X25519MLKEM768:X25519:P-256',
} as const satisfies SecureContextOptions;

/** A look at three files each; Kubernetes takes a minute to bring a new certificate. */
const lookEveryMs = 2_000;

/** The certificate and key of a service, and of its clients' authority, as the files have them. */
export class Certificates {
  readonly #files: CertificateFiles;
  readonly #rule: SecretRule;
  readonly #users: ((options: SecureContextOptions) => void)[] = [];
  #options: SecureContextOptions;
  #notAfterMs: number;
  #fingerprint: string;
  #watcher: (() => void) | undefined;

  /** Throws a StartError where the files cannot be used. */
  constructor(files: CertificateFiles, rule: SecretRule) {
    this.#files = files;
    this.#rule = rule;
    ({ options: this.#options, notAfterMs: this.#notAfterMs, fingerprint: this.#fingerprint } = this.#read());
  }

  /** The options of now. */
  get options(): SecureContextOptions {
    return this.#options;
  }

  /** When the first certificate of the chain expires, UTC. */
  get notAfterMs(): number {
    return this.#notAfterMs;
  }

  /** SHA-256 of the first certificate of the chain, in hex with colons. */
  get fingerprint(): string {
    return this.#fingerprint;
  }

  /** `use` gets the options of each later reading. */
  onReload(use: (options: SecureContextOptions) => void): void {
    this.#users.push(use);
  }

  /** Connections that come from now on have the new ones. Throws a StartError where they cannot be used; then nothing changes. */
  reload(): void {
    this.prepare().take();
  }

  /** Reads the files; what it gives puts them in use. Throws a StartError where they cannot be used. */
  prepare(): { readonly fingerprint: string; take(): void } {
    const { options, notAfterMs, fingerprint } = this.#read();
    const take = () => {
      this.#options = options;
      this.#notAfterMs = notAfterMs;
      this.#fingerprint = fingerprint;
      for (const use of this.#users) use(options);
    };
    return { fingerprint, take };
  }

  /** Calls back when one of the files may have changed. Looks at what links lead to. */
  watch(changed: () => void, everyMs = lookEveryMs): void {
    this.#watcher = changed;
    for (const file of this.#paths()) watchFile(file, { persistent: false, interval: everyMs }, changed);
  }

  stopWatching(): void {
    const watcher = this.#watcher;
    if (watcher !== undefined) for (const file of this.#paths()) unwatchFile(file, watcher);
    this.#watcher = undefined;
  }

  #paths(): readonly string[] {
    const { certFile, keyFile, clientCaFile } = this.#files;
    return clientCaFile === undefined ? [certFile, keyFile] : [certFile, keyFile, clientCaFile];
  }

  #read(): { options: SecureContextOptions; notAfterMs: number; fingerprint: string } {
    const { certFile, keyFile, clientCaFile } = this.#files;
    try {
      const problem = judgeSecretFile(keyFile, this.#rule);
      if (problem !== undefined) throw new StartError(problem);
      const cert = readRegularFile(certFile).toString();
      const ca =
        clientCaFile === undefined ? undefined : certificatesIn(readRegularFile(clientCaFile).toString());
      if (ca?.length === 0)
        throw new StartError(`${clientCaFile} holds no certificate in PEM, or a part of one`);
      const chain = certificatesIn(cert).map((pem) => new X509Certificate(pem));
      if (chain.length === 0)
        throw new StartError(`${certFile} holds no certificate in PEM, or a part of one`);
      const options = {
        ...tlsSettings,
        cert,
        key: readRegularFile(keyFile),
        ...(ca === undefined ? {} : { ca }),
      };
      // Also says whether certificate and key belong together.
      createSecureContext(options);
      return {
        options,
        notAfterMs: Math.min(...chain.map(({ validTo }) => Date.parse(validTo))),
        fingerprint: (chain[0] as X509Certificate).fingerprint256,
      };
    } catch (cause) {
      if (cause instanceof StartError) throw cause;
      const { code, message } = cause as NodeJS.ErrnoException;
      throw new StartError(
        `the certificate ${certFile} with the key ${keyFile} cannot be used: ${code ?? message}`,
        {
          cause,
        },
      );
    }
  }
}

function certificatesIn(pem: string): string[] {
  const whole = pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  // Of a file that is being written, the rest would be missed: the other authorities, or the way to them.
  const begun = pem.split('-----BEGIN CERTIFICATE').length - 1;
  return whole.length === begun ? whole : [];
}

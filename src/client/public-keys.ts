import type { KeyDetails } from './answers.ts';
import type { PublicKey } from './local-verification.ts';

interface Known {
  readonly key: PublicKey & { readonly kid: string };
  readonly readAtMs: number;
}

/** Public keys by kid with a version. At most 1,000: ML-DSA-87's are 3.5 KiB, so a few MiB. */
const maxKeys = 1_000;

/** A version's public key never changes; only that it was destroyed is learned by reading it again. */
export class PublicKeys {
  readonly #known = new Map<string, Known>();
  readonly #read: (kid: string) => Promise<KeyDetails>;

  constructor(read: (kid: string) => Promise<KeyDetails>) {
    this.#read = read;
  }

  /** Of a kid without a version its current one, which is read each time. Undefined where it is secret or destroyed. */
  async get(kid: string, maxAgeMs = 300_000): Promise<(PublicKey & { readonly kid: string }) | undefined> {
    const known = this.#known.get(kid);
    if (known !== undefined && performance.now() - known.readAtMs < maxAgeMs) return known.key;
    this.#known.delete(kid);
    const details = await this.#read(kid);
    const wanted = kid.includes('#') ? kid : details.kid;
    const version = details.versions.find((one) => one.kid === wanted);
    if (version?.public === undefined || version.state === 'destroyed') return undefined;
    const key = { ...version.public, kid: wanted };
    const [oldest] = this.#known.keys();
    if (this.#known.size >= maxKeys && oldest !== undefined) this.#known.delete(oldest);
    this.#known.set(wanted, { key, readAtMs: performance.now() });
    return key;
  }
}

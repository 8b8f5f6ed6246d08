import type { CryptoCall } from '../dispatch/crypto-dispatch.ts';
import type { PrivateParts } from '../keys/keyring.ts';
import type { Carrier } from '../queue/lane.ts';

/** The custody of private keys: it makes them, names them for work, and destroys them. */
export interface Custody extends PrivateParts {
  /** The claim about the keys' residence that an auditor may rely on, as answers name it. */
  readonly attestationClass: string;
}

/** The custodies by the names that records have. `software` is always there. */
export type Custodies = ReadonlyMap<string, Custody>;

/** A custody whose keys are not in our engine, with the carrier that takes work to them. */
export interface Home {
  readonly custody: Custody;
  readonly carrier: Carrier<CryptoCall>;
  /** This key number comes in no item any more: what the home keeps under it may go. Of its own keys and of others. */
  forget(keyNumber: number): void;
  /** Waits for calls under way. */
  close(): Promise<void>;
}

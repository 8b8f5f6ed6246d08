/** The part of npm `macaroon` 3.0.4 that we use, which comes without types. */
declare module 'macaroon' {
  export interface Macaroon {
    readonly identifier: Uint8Array;
    readonly signature: Uint8Array;
    /** `vid` and `location` are there for third-party caveats only. */
    readonly caveats: readonly {
      readonly identifier: Uint8Array;
      readonly vid?: Uint8Array;
      readonly location?: string;
    }[];
    addFirstPartyCaveat(condition: string | Uint8Array): void;
    addThirdPartyCaveat(rootKey: Uint8Array, identifier: string | Uint8Array, location?: string): void;
    bindToRoot(signature: Uint8Array): void;
  }
  const library: {
    newMacaroon(parts: {
      identifier: string | Uint8Array;
      rootKey: Uint8Array;
      location?: string;
      version: 2;
    }): Macaroon;
    /** Throws for anything that is not one V2 macaroon in binary form. */
    importMacaroon(binary: Uint8Array): Macaroon;
  };
  export default library;
}

import { helloWorldB3 } from '../support/service.ts';

/** Capabilities that the cases use, by name; `nobody` sends none. */
export type Who =
  | 'operator'
  | 'acme'
  | 'reader'
  | 'acmeAdmin'
  | 'auditor'
  | 'globex'
  | 'expired'
  | 'forged'
  | 'nobody';

/**
 * One request as data. `{kid:NAME}`, `{id:NAME}` (a kid without its version), `{sig:NAME.N}`, `{flipped:NAME.N}` (the
 * same with a bit changed), `{cursor:NAME}` and `{made:NAME.MEMBER}` stand for what answers to cases with `keep: NAME` gave.
 */
export interface GoldenCase {
  readonly name: string;
  readonly as: Who;
  readonly method: string;
  readonly path: string;
  readonly json?: unknown;
  /** Sent as it is. `repeat` makes it long without making the file long. */
  readonly text?: string;
  readonly repeat?: number;
  /** One byte a character, so that not all texts are UTF-8. */
  readonly latin1?: true;
  readonly headers?: Readonly<Record<string, string>>;
  readonly keep?: string;
  /** Asked again until it is answered 200: a checkpoint is made each second. */
  readonly eventually?: true;
}

/** A service and what is asked of it, in this order. */
export interface GoldenPart {
  readonly name: string;
  readonly env: Readonly<Record<string, string>>;
  /** Whether it starts on the data of the part before. */
  readonly sameData: boolean;
  readonly cases: readonly GoldenCase[];
}

export const digest = helloWorldB3;

export const get = (name: string, path: string, as: Who = 'acme'): GoldenCase => ({
  name,
  as,
  method: 'GET',
  path,
});
export const post = (
  name: string,
  path: string,
  json?: unknown,
  more: Partial<GoldenCase> = {},
): GoldenCase => ({
  name,
  as: 'acme',
  method: 'POST',
  path,
  // As it is sent: without members that are undefined.
  ...(json === undefined ? {} : { json: JSON.parse(JSON.stringify(json)) }),
  ...more,
});
export const opId = (n: number) => `00000000-0000-4000-8000-${String(n).padStart(12, '0')}`;
export const key = (text: string, action = '') => `/v1/kms/keys/${text}${action}`;
export const sign = (name: string, json: object, more: Partial<GoldenCase> = {}) =>
  post(`sign: ${name}`, '/v1/kms/sign', { payload_b3: digest, ...json }, more);
export const verify = (name: string, sigs: unknown, json: object = {}, more: Partial<GoldenCase> = {}) =>
  post(`verify: ${name}`, '/v1/kms/verify', { payload_b3: digest, sigs, ...json }, more);

export const hybrid = 'ed25519+ml-dsa-65';

import type { RawRequest } from '../support/requests.ts';

/** What the cases speak of; filled once the service runs. */
export interface Facts {
  readonly token: string;
  readonly kid: string;
  readonly id: string;
  readonly mlDsa: string;
  readonly rsa: string;
  /** Keys that encrypt: one's own, one that is destroyed, one of another tenant. */
  readonly aead: string;
  readonly destroyedAead: string;
  readonly foreignAead: string;
  readonly destroyed: string;
  readonly foreign: string;
  readonly missing: string;
  readonly signature: string;
  readonly usedOpId: string;
  readonly tokens: Readonly<Record<string, string>>;
}

export interface Case {
  readonly name: string;
  readonly request: (facts: Facts) => Partial<RawRequest> & { readonly json?: unknown };
  readonly status: number;
  readonly code: string;
}

export const cases: Case[] = [];

export function refused(
  name: string,
  status: number,
  code: string,
  request: (facts: Facts) => Partial<RawRequest> & { readonly json?: unknown },
): void {
  cases.push({ name, request, status, code });
}

/** Stands in everything that is wrong; no answer may contain it. */
export const canary = 'kanarienvogel';

export const path = (kid: string, action = '') => `/v1/kms/keys/${encodeURIComponent(kid)}${action}`;
export const flipped = (text: string, at: number) =>
  `${text.slice(0, at)}${text[at] === 'A' ? 'B' : 'A'}${text.slice(at + 1)}`;

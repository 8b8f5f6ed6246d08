import type { KeyType } from '../../algorithms/ids.ts';
import type { BatchItem, BatchResult } from '../../engine/batch.ts';
import type { TokenKeyName } from '../../keys/record.ts';
import type { TokenEvidence } from '../custody.ts';

/** One token as the configuration names it. */
export interface TokenSettings {
  /** Path of the PKCS#11 module, a shared library. */
  readonly module: string;
  /** CKA_LABEL of the token, or its serial number. */
  readonly token: { readonly label: string } | { readonly serial: string };
  /** A path; `fd:N`, a descriptor from 3 on; or `credential:NAME`, a file in $CREDENTIALS_DIRECTORY. */
  readonly pinFile: string;
  /** Operations at a time. */
  readonly sessions: number;
  readonly groupReadableSecrets: boolean;
}

/**
 * What the home asks of its worker, which is a process of its own. Every answer has the number of its question. A message holds
 * the questions, or the answers, of one turn of an event loop: each message costs both sides some 40 us.
 */
export type Asked =
  | { readonly kind: 'open'; readonly settings: TokenSettings; readonly refusedPin: string | undefined }
  /** Of the worker's own end: C_Finalize. */
  | { readonly kind: 'close' }
  /** C_GetTokenInfo, and a sign of life for each idle session. */
  | { readonly kind: 'probe' }
  | { readonly kind: 'run'; readonly calls: readonly (readonly BatchItem[])[] }
  | { readonly kind: 'generate'; readonly keyType: KeyType; readonly reference: Uint8Array }
  | {
      readonly kind: 'adopt';
      readonly keyType: KeyType;
      readonly reference: Uint8Array;
      readonly key: TokenKeyName;
    }
  | { readonly kind: 'destroy'; readonly references: readonly Uint8Array[] }
  /** Of keys that came into no record: what was made goes, what was adopted is as it was. */
  | { readonly kind: 'discard'; readonly references: readonly Uint8Array[] }
  | { readonly kind: 'evidence'; readonly reference: Uint8Array };

export interface TokenQuestion {
  readonly id: number;
  readonly asked: Asked;
}

/** The reason where an optional dependency was left out. */
export const libraryMissing =
  'npm pkcs11js is not installed: install optional dependencies, and let its install script run';

/** The token is away, or says that it is in trouble: nothing was done, or nobody knows. */
export interface Away {
  readonly kind: 'away';
  readonly reason: string;
  /** The token refused the PIN; where that came from, so that it is not tried again unchanged. */
  readonly refusedPin?: string;
  /** There was no answer in time. */
  readonly timedOut?: true;
}

export interface OpenedToken {
  readonly kind: 'opened';
  readonly token: TokenEvidence['token'];
  readonly mechanisms: readonly number[];
}

/** One for each call: its results, or that the token did not answer in time or is away. */
export type CallAnswer = readonly BatchResult[] | Away;

export interface KeyMadeInToken {
  readonly kind: 'made';
  readonly publicKey: Uint8Array;
}

export interface NotMade {
  readonly kind: 'not_made';
  readonly code: 'BadRequest' | 'Conflict' | 'Unsupported';
  /** One of a fixed list. */
  readonly hint: string;
}

/** `ofKeys`: troubles that keys turned out to have of themselves, for the operator. */
export interface Ran {
  readonly kind: 'ran';
  readonly calls: readonly CallAnswer[];
  readonly away?: Away;
  readonly ofKeys?: readonly string[];
}

/** The token is well and did not do what was asked of one key. */
export interface Failed {
  readonly kind: 'failed';
  /** For the operator. */
  readonly reason: string;
}

export type Answered =
  | Away
  | Failed
  | OpenedToken
  | { readonly kind: 'well' }
  | Ran
  | KeyMadeInToken
  | NotMade
  | { readonly kind: 'evidence'; readonly key: TokenEvidence['key']; readonly asOfMs: number };

export interface TokenAnswer {
  readonly id: number;
  readonly answered: Answered;
}

/** A message costs both sides some 30 us, and a piece of one 5. */
const piecesOfMessage = 8;
/** Nobody waits longer for others to share a message with, in milliseconds. */
const gatherMs = 1;

interface SharedMessages<T> {
  /** `othersComing`: there is something under way that will be sent, too. */
  add(one: T, othersComing: boolean): void;
}

/** Sends several pieces together: those of one turn of the event loop, and a few that come soon after where others are under way. */
export function createGathered<T>(send: (all: readonly T[]) => void): SharedMessages<T> {
  let gathered: T[] = [];
  let timer: NodeJS.Timeout | undefined;
  let immediate = false;
  const flush = () => {
    clearTimeout(timer);
    timer = undefined;
    if (gathered.length === 0) return;
    const all = gathered;
    gathered = [];
    send(all);
  };
  return {
    add(one, othersComing) {
      gathered.push(one);
      if (othersComing && gathered.length < piecesOfMessage) {
        timer ??= setTimeout(flush, gatherMs);
        return;
      }
      if (immediate) return;
      immediate = true;
      setImmediate(() => {
        immediate = false;
        flush();
      });
    },
  };
}

import { field } from '../field.ts';
import { path } from '../kinds.ts';
import {
  defaultSessions,
  type NamedToken,
  namedTokens,
  pinSource,
  sessionCount,
  type TokenName,
  tokenName,
} from './kinds.ts';

/** Settings of keys in hardware. */
export const tokenFields = {
  pkcs11Module: field(
    'KMS_PKCS11_MODULE',
    path,
    'none',
    'The PKCS#11 module, a shared library, of the token behind the backend `pkcs11`; docs/hsm.md. It is loaded by a process of its own. `none`: there is no such backend.',
  ),
  pkcs11Token: field<'none' | TokenName>(
    'KMS_PKCS11_TOKEN',
    tokenName,
    'none',
    'The token of KMS_PKCS11_MODULE by its label, or as serial:<number> by its serial number. Slots are not taken, as their numbers change.',
  ),
  pkcs11PinFile: field(
    'KMS_PKCS11_PIN_FILE',
    pinSource,
    'none',
    'Where the PIN of KMS_PKCS11_TOKEN is: a file of mode 0600; fd:N, a descriptor that the service is handed open; or credential:NAME, a file in the directory of credentials of systemd. It is read for each login and wiped after it, so that a pipe allows one login only. A PIN that the token refuses is not tried again until its file changes or SIGHUP: tokens lock themselves.',
  ),
  pkcs11Sessions: field(
    'KMS_PKCS11_SESSIONS',
    sessionCount,
    defaultSessions,
    'Operations that KMS_PKCS11_TOKEN does at a time. 8 hide 2 ms of a network from 4,000 operations a second; a token that works on one thing at a time is as fast with 2.',
  ),
  pkcs11: field<Readonly<Record<string, NamedToken>>>(
    'KMS_PKCS11',
    namedTokens,
    { text: 'none', from: () => ({}) },
    'Further tokens, by the names of their backends, in the settings file: `pkcs11: {vault: {module: /usr/lib/x.so, token: label, pin_file: /run/pin, sessions: 4}}`, with `serial` in place of `token` where the label is not enough. Names are kept in records of keys: do not rename them.',
  ),
};

/** All tokens by their backends; the one of KMS_PKCS11_MODULE first. */
export function tokensOf(config: {
  readonly pkcs11Module: string;
  readonly pkcs11Token: 'none' | TokenName;
  readonly pkcs11PinFile: string;
  readonly pkcs11Sessions: number;
  readonly pkcs11: Readonly<Record<string, NamedToken>>;
}): ReadonlyMap<string, NamedToken> {
  const {
    pkcs11Module: module,
    pkcs11Token: token,
    pkcs11PinFile: pinFile,
    pkcs11Sessions: sessions,
  } = config;
  const first = token === 'none' || module === 'none' ? undefined : { module, token, pinFile, sessions };
  return new Map([
    ...(first === undefined ? [] : [[firstBackend, first] as const]),
    ...Object.entries(config.pkcs11),
  ]);
}

/** The name of the backend of KMS_PKCS11_MODULE. */
export const firstBackend = 'pkcs11';

/** The library: the whole of Intaglio in the process of whoever imports it, without doors. */
export type { EventSource, ServiceEvent, SubscribeOptions, Subscription } from './events/event-source.ts';
export { type EmbeddedDek, EmbeddedDeks } from './library/embedded-deks.ts';
export { KmsError, type KmsErrorKind, KmsOpenError } from './library/errors.ts';
export { InMemoryKms, Kms } from './library/kms.ts';
export type { DirectoryOptions, KmsOptions } from './library/open.ts';
export type {
  ListWish,
  NewKeyWish,
  SignedForms,
  SignWish,
  VerifyWish,
} from './library/requests.ts';
export type {
  CallOptions,
  Ciphertext,
  ListedKey,
  MadeKey,
  MadeSignatures,
  ShownKey,
  SignaturesChecked,
  TenantKms,
  WrappedKey,
} from './library/tenant.ts';

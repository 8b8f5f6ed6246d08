import type { Attribute } from './cryptoki.ts';
import { adoptionApplication } from './key-name.ts';
import { attributes as a, objectClasses } from './numbers.ts';
import type { NotMade } from './protocol.ts';
import type { TokenKeyKind } from './schemes.ts';

/** A key in the token that never leaves it. */
function ownTemplate(id: Buffer, label: string): readonly Attribute[] {
  return [
    { type: a.token, value: true },
    { type: a.private, value: true },
    { type: a.sensitive, value: true },
    { type: a.extractable, value: false },
    { type: a.id, value: id },
    { type: a.label, value: label },
  ];
}

export function privateTemplate(id: Buffer, label: string): readonly Attribute[] {
  return [...ownTemplate(id, label), { type: a.sign, value: true }];
}

export function publicTemplate(kind: TokenKeyKind, id: Buffer, label: string): readonly Attribute[] {
  return [
    { type: a.token, value: true },
    { type: a.id, value: id },
    { type: a.label, value: label },
    { type: a.verify, value: true },
    ...kind.parameters,
  ];
}

export type TokenUse = TokenKeyKind['uses'][number];

export function secretTemplate(
  kind: TokenKeyKind,
  id: Buffer,
  label: string,
  uses: readonly TokenUse[],
): readonly Attribute[] {
  return [
    ...ownTemplate(id, label),
    { type: a.keyType, value: kind.tokenKeyType },
    ...kind.parameters,
    ...uses.flatMap((use) => attributesOfUse[use]).map((type) => ({ type, value: true })),
  ];
}

export const attributesOfUse: Readonly<Record<TokenUse, readonly number[]>> = {
  sign: [a.sign],
  encrypt: [a.encrypt, a.decrypt],
  wrap: [a.wrap, a.unwrap],
};

/** The object that says which key is adopted, under `more`. */
export function adoptionTemplate(more: Attribute): readonly Attribute[] {
  return [
    { type: a.class, value: objectClasses.data },
    { type: a.token, value: true },
    { type: a.private, value: true },
    { type: a.application, value: Buffer.from(adoptionApplication) },
    more,
  ];
}

/** A plaintext on its way through the token, for as long as one operation takes. */
export function passingTemplate(value?: Buffer): readonly Attribute[] {
  return [
    { type: a.class, value: objectClasses.secretKey },
    { type: a.keyType, value: 0x10 },
    { type: a.token, value: false },
    { type: a.private, value: true },
    { type: a.sensitive, value: false },
    { type: a.extractable, value: true },
    ...(value === undefined ? [] : [{ type: a.value, value }]),
  ];
}

export function notMade(code: NotMade['code'], hint: string): NotMade {
  return { kind: 'not_made', code, hint };
}

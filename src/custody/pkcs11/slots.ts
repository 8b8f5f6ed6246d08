import { TokenAway } from './away.ts';
import type { Cryptoki, Handle, TokenInfo } from './cryptoki.ts';
import type { TokenSettings } from './protocol.ts';

/** The slot of the one token that is meant. Slot numbers change, so that nobody names them. Throws TokenAway. */
export function findSlot(cryptoki: Cryptoki, token: TokenSettings['token']): Handle {
  const found = cryptoki.C_GetSlotList(true).filter((slot) => {
    const info = tokenInfoOf(cryptoki, slot);
    if (info === undefined) return false;
    return 'label' in token
      ? trimmed(info.label) === token.label
      : trimmed(info.serialNumber) === token.serial;
  });
  const [slot] = found;
  const what = 'label' in token ? `label ${token.label}` : `serial number ${token.serial}`;
  if (slot === undefined) throw new TokenAway(`no token with ${what} is present`);
  if (found.length > 1) throw new TokenAway(`${found.length} tokens have ${what}: name one by its serial`);
  return slot;
}

function tokenInfoOf(cryptoki: Cryptoki, slot: Handle): TokenInfo | undefined {
  try {
    return cryptoki.C_GetTokenInfo(slot);
  } catch {
    // Another slot of this module, with a token that is broken.
    return undefined;
  }
}

/** Padded with blanks, or with zeros by some. */
export function trimmed(text: string): string {
  return text.replaceAll('\0', ' ').trimEnd();
}

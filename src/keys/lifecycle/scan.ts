import { walk } from '../background.ts';
import { decodeHead, decodeVersion, headKey, versionKey } from '../codec.ts';
import type { KeyringParts } from '../keyring.ts';
import { parseKid } from '../kid.ts';
import { allIds } from './names.ts';
import type { StateCounter } from './state-counter.ts';

/** Counts the versions that are in the store, in the background, until `signal`. */
export async function countStates(
  parts: KeyringParts,
  states: StateCounter,
  signal: AbortSignal,
): Promise<void> {
  await walk(parts.store, allIds, signal, async (entries) => {
    for (const { value } of entries) {
      if (signal.aborted) return;
      await countVersion(parts, states, Buffer.from(value).toString('latin1'));
    }
  });
}

/** A record that cannot be read is reported when somebody asks for it. */
async function countVersion({ store, mac }: KeyringParts, states: StateCounter, text: string): Promise<void> {
  const kid = parseKid(text);
  if (kid?.version === undefined) return;
  const places = [headKey(kid.id), versionKey(kid.id, kid.version)] as const;
  const [headEntry, versionEntry] = [await store.get(places[0]), await store.get(places[1])];
  if (!headEntry.ok || !versionEntry.ok) return;
  const head = headEntry.value && decodeHead(places[0], headEntry.value.value, mac);
  const version = versionEntry.value && decodeVersion(places[1], kid, versionEntry.value.value, mac);
  if (head !== undefined && version !== undefined) states.heard(head, version);
}

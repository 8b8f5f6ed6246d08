/** A generator of numbers that a seed names (Marsaglia's xorshift32), so that a failure can be run again. */
export function randomFrom(seed: number): (below: number) => number {
  let state = seed | 0 || 1;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

type Random = ReturnType<typeof randomFrom>;

const odd: readonly unknown[] = [
  ...[null, true, false, 0, -1, 1.5, 1e308, 2 ** 53, '', ' ', '\u0000', '🦊', [], {}, [[]], { a: 1 }],
  ...['__proto__', 'constructor', 'AA==', '=', 'a/b/ed25519/x#v0', '#v1', '../..', 'A'.repeat(9_000)],
];

/** The same JSON with one member or element removed, doubled, renamed or replaced, somewhere. */
function mutateValue(value: unknown, random: Random): unknown {
  if (typeof value === 'string' && random(2) === 0) return mutateText(value, random);
  if (typeof value !== 'object' || value === null || random(6) === 0) return odd[random(odd.length)];
  if (Array.isArray(value)) {
    if (value.length === 0 || random(5) === 0)
      return random(2) === 0 ? [...value, ...value] : value.slice(0, -1);
    const at = random(value.length);
    return value.with(at, mutateValue(value[at], random));
  }
  const entries = Object.entries(value);
  if (entries.length === 0) return { a: odd[random(odd.length)] };
  const at = random(entries.length);
  const [name, member] = entries[at] as [string, unknown];
  switch (random(6)) {
    case 0:
      return Object.fromEntries(entries.toSpliced(at, 1));
    case 1:
      return Object.fromEntries([...entries, [`${name}x`, member]]);
    default:
      return Object.fromEntries(entries.with(at, [name, mutateValue(member, random)]));
  }
}

/** One character changed, removed or put in, or the end cut off. */
export function mutateText(text: string, random: Random): string {
  const at = random(text.length + 1);
  const character = String.fromCharCode(random(2) === 0 ? 32 + random(95) : random(256));
  switch (random(4)) {
    case 0:
      return text.slice(0, at) + character + text.slice(at + 1);
    case 1:
      return text.slice(0, at) + text.slice(at + 1);
    case 2:
      return text.slice(0, at) + character + text.slice(at);
    default:
      return text.slice(0, at);
  }
}

/** A body made from a valid one: by its members, by its characters, or not at all like it. */
export function mutateBody(body: unknown, random: Random): string {
  const text = JSON.stringify(body) ?? '';
  const way = random(10);
  if (way === 0) return '['.repeat(random(3_000)) + text;
  if (way < 4) return mutateText(text, random);
  let value = body;
  for (let n = 0; n <= random(3); n++) value = mutateValue(value, random);
  return JSON.stringify(value) ?? '';
}

/** Bits changed, an end cut off, bytes put in or taken out, a part put in the place of another. In and out: base64. */
export function alterBytes(text: string, random: Random): string {
  const bytes = Buffer.from(text, 'base64');
  const at = random(bytes.length + 1);
  const length = 1 + random(8);
  switch (random(5)) {
    case 0:
      return bytes.toString('base64', 0, at);
    case 1:
      return Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + length)]).toString('base64');
    case 2: {
      const more = Buffer.alloc(length, random(256));
      return Buffer.concat([bytes.subarray(0, at), more, bytes.subarray(at)]).toString('base64');
    }
    case 3:
      bytes.copyWithin(at, random(bytes.length + 1), bytes.length);
      return bytes.toString('base64');
    default:
      for (let n = 0; n <= random(3) && bytes.length > 0; n++) {
        const place = random(bytes.length);
        bytes[place] = bytes[place]! ^ (1 << random(8));
      }
      return bytes.toString('base64');
  }
}

/** Of the DRILL_INPUTS of all fuzz tests together, those of one of them: the shares add up to 1. `short` in an ordinary run. */
export function inputsOf(share: number, short: number): number {
  const all = process.env.DRILL_INPUTS;
  return all === undefined ? short : Math.round(share * Number(all));
}

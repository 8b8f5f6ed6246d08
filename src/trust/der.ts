/** The place of one DER element (X.690) in its bytes. */
export interface DerElement {
  readonly tag: number;
  readonly start: number;
  /** Where its content begins, and where it ends. */
  readonly content: number;
  readonly end: number;
}

/** Universal tags (X.690 section 8). */
export const derTags = {
  integer: 0x02,
  bitString: 0x03,
  objectId: 0x06,
  utcTime: 0x17,
  generalizedTime: 0x18,
  sequence: 0x30,
} as const;

/** The element that begins here; undefined where it does not end before `limit`, or its length is not in the shortest form. */
export function elementAt(der: Uint8Array, start: number, limit = der.length): DerElement | undefined {
  const [tag, first] = [der[start], der[start + 1]];
  if (tag === undefined || first === undefined) return undefined;
  let [content, length] = [start + 2, first];
  if (first >= 0x80) {
    const count = first & 0x7f;
    if (count === 0 || count > 4 || content + count > limit) return undefined;
    length = 0;
    for (let n = 0; n < count; n++) length = length * 256 + (der[content + n] as number);
    if (length < 0x80 || (count > 1 && der[content] === 0)) return undefined;
    content += count;
  }
  const end = content + length;
  return end > limit ? undefined : { tag, start, content, end };
}

/** The elements of one that is made of others, in their order; undefined where they do not fill it. */
export function elementsIn(
  der: Uint8Array,
  { content, end }: Pick<DerElement, 'content' | 'end'>,
): readonly DerElement[] | undefined {
  const found: DerElement[] = [];
  for (let at = content; at < end; ) {
    const element = elementAt(der, at, end);
    if (element === undefined) return undefined;
    found.push(element);
    at = element.end;
  }
  return found;
}

/** The parts of what an authority or a requester has signed (RFC 5280 section 4.1, RFC 2986 section 4.2). */
export interface SignedParts {
  /** The bytes that are signed, as an element of these. */
  readonly inner: DerElement;
  readonly signed: Uint8Array;
  /** DER of AlgorithmIdentifier. */
  readonly algorithm: Uint8Array;
  readonly signature: Uint8Array;
}

/** Undefined where these bytes are no sequence of something, an algorithm and a signature, or are followed by others. */
export function signedPartsOf(der: Uint8Array): SignedParts | undefined {
  const outer = elementAt(der, 0);
  if (outer?.tag !== derTags.sequence || outer.end !== der.length) return undefined;
  const [inner, algorithm, signature, ...more] = elementsIn(der, outer) ?? [];
  if (inner?.tag !== derTags.sequence || algorithm?.tag !== derTags.sequence) return undefined;
  // A signature is whole bytes: no bits are unused.
  if (signature?.tag !== derTags.bitString || der[signature.content] !== 0 || more.length > 0)
    return undefined;
  return {
    inner,
    signed: der.subarray(inner.start, inner.end),
    algorithm: der.subarray(algorithm.start, algorithm.end),
    signature: der.subarray(signature.content + 1, signature.end),
  };
}

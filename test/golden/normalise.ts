/** Replaces what differs from run to run, or between engines, by what it is; all else stays as it was. */

const uuid = /[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/g;
/** Those that the cases send begin so, and are answered as they are. */
const sentUuid = /^00000000-/;

/** `names`: kept UUIDs of keys, by the name under which they were kept. */
export function normaliseText(text: string, names: ReadonlyMap<string, string>): string {
  return text
    .replace(uuid, (found) => names.get(found) ?? (sentUuid.test(found) ? found : '<uuid>'))
    .replace(/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z/g, '<time>')
    .replace(/\bcap:[0-9a-f]{16}\b/g, 'cap:<16 hex>')
    .replace(/\b(?:[0-9a-f]{64}|[0-9a-f]{32})\b/g, (hex) => `<${hex.length} hex>`);
}

/** By the member's name, wherever it stands. */
const byName: Readonly<Record<string, (value: unknown) => unknown>> = {
  signature_b64: base64Length,
  pubkey_b64: base64Length,
  spki_b64: base64Length,
  salt_b64: base64Length,
  mac_b64: base64Length,
  nonce_b64: base64Length,
  ciphertext_b64: base64Length,
  wrapped_b64: base64Length,
  plaintext_b64: base64Length,
  random_b64: base64Length,
  sealed_b64: base64Length,
  next_cursor: () => '<cursor>',
  retry_after_ms: numberOf('ms'),
  ts: (value) => (typeof value === 'number' ? `<${digits(value)} digits>` : '<time>'),
  not_before: numberOf('s'),
  until: (value) => (typeof value === 'number' ? '<s>' : '<time>'),
  evidence: evidenceOf,
  vkeys: (value) => (value as unknown[]).map(vkey),
  new_vkey: vkey,
  old_vkey: vkey,
};

interface Evidence {
  readonly payload: string;
  readonly signatures: readonly { readonly protected: string; readonly signature: string }[];
}

/** The names of its claims, and who signs. */
function evidenceOf(value: unknown): unknown {
  const { payload, signatures } = value as Evidence;
  const claims = JSON.parse(Buffer.from(payload, 'base64url').toString());
  const { eat_profile, eat_nonce } = claims;
  return {
    payload: JSON.stringify({ ...(shapeOf(claims) as object), eat_profile, eat_nonce }),
    signatures: signatures.map((one) => ({
      protected: JSON.stringify(shapeOf(JSON.parse(Buffer.from(one.protected, 'base64url').toString()))),
      signature: `<${one.signature.length} characters>`,
    })),
  };
}

/** JSON, members in their order. */
export function normaliseJson(value: unknown, names: ReadonlyMap<string, string>, member = ''): unknown {
  const special = Object.hasOwn(byName, member) ? byName[member] : undefined;
  if (special !== undefined) return special(value);
  if (typeof value === 'string') return normaliseText(value, names);
  if (Array.isArray(value)) return value.map((entry) => normaliseJson(entry, names));
  if (typeof value === 'object' && value !== null) {
    return Object.fromEntries(
      Object.entries(value).map(([name, entry]) => [name, normaliseJson(entry, names, name)]),
    );
  }
  return value;
}

/** Only which members there are and of which types; of lists of objects the first entry. */
export function shapeOf(value: unknown): unknown {
  if (Array.isArray(value)) return typeof value[0] === 'object' ? [shapeOf(value[0])] : '<list>';
  if (typeof value !== 'object' || value === null) return `<${value === null ? 'null' : typeof value}>`;
  return Object.fromEntries(
    Object.entries(value).map(([name, entry]) => [
      name,
      name === 'libraries' || name === 'reseeds' ? '<by engine>' : shapeOf(entry),
    ]),
  );
}

/** A signed note or a proof line by line. How far the log was is a matter of time. */
export function normaliseNote(text: string): string[] {
  const lines = text.split('\n').map((line) =>
    line
      .replace(/^(\u2014 \S+) \S+$/, '$1 <signature>')
      .replace(/^(index )?\d+$/, '$1<number>')
      .replace(/^[A-Za-z0-9+/]{43}=$/, '<hash>'),
  );
  // As many hashes as the tree is high.
  return lines.filter((line, index) => line !== '<hash>' || lines[index - 1] !== '<hash>');
}

/** Names, types and labels of the metrics that are ours. */
export function normaliseMetrics(text: string): string[] {
  return text.split('\n').filter((line) => /^# TYPE (?!nodejs_|process_)/.test(line));
}

/** A verifier key of C2SP signed-note: name, key id, key; the key's first character tells its type. */
function vkey(value: unknown): unknown {
  return String(value).replace(/\+[0-9a-f]{8}\+(.).*$/, '+<key id>+$1<key>');
}

function base64Length(value: unknown): unknown {
  if (typeof value !== 'string') return value;
  const bytes = Buffer.from(value, 'base64');
  if (bytes.toString('base64') !== value) return '<not base64>';
  // Integers without leading zeros: 70 bytes, one or two more or a few less.
  const der =
    bytes[0] === 0x30 &&
    bytes[1] === bytes.length - 2 &&
    bytes[2] === 2 &&
    bytes.length > 60 &&
    bytes.length < 105;
  // ML-DSA-65 and then such a signature of P-256; with Ed25519 it is one of 3,373 bytes.
  if (bytes.length > 3373 && bytes.length <= 3381)
    return '<base64 of a composite signature with ECDSA in DER>';
  return der ? '<base64 of an ECDSA signature in DER>' : `<base64 of ${bytes.length} bytes>`;
}

function numberOf(unit: string): (value: unknown) => unknown {
  return (value) => (typeof value === 'number' ? `<${unit}>` : value);
}

function digits(value: number): number {
  return String(value).length;
}

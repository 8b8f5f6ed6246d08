/** A generator of numbers from 0 to below 1 that a seed decides (mulberry32). */
export function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

type Random = () => number;

const below = (random: Random, n: number) => Math.floor(random() * n);
const oneOf = <T>(random: Random, list: readonly T[]): T => list[below(random, list.length)] as T;

const lines = [
  ...[
    'Content-Length: 2',
    'Content-Length: 0',
    'Content-Length: -1',
    'Content-Length: 2, 2',
    'Content-Length : 2',
  ],
  ...['Content-Length: 99999999999999999999', 'Content-Length: 0x2', 'content-length: 5', 'Content-Length:'],
  ...[
    'Transfer-Encoding: chunked',
    'Transfer-Encoding: xchunked',
    'Transfer-Encoding:\tchunked',
    'TE: trailers',
  ],
  ...[
    'Transfer-Encoding: gzip, chunked',
    'Transfer-Encoding : chunked',
    ' folded',
    '\tfolded: x',
    ': no name',
  ],
  ...[
    'Host: y',
    'Connection: close',
    'Connection: upgrade',
    'Upgrade: h2c',
    'Expect: 100-continue',
    'Expect: 200',
  ],
  ...[
    'no colon',
    'X: \0',
    'X: \r',
    'X: a\nY: b',
    `X: ${'x'.repeat(9_000)}`,
    `X: ${'x'.repeat(20_000)}`,
    'É: é',
  ],
  ...[
    'X-Forwarded-For: ,',
    'Forwarded: for="',
    'Authorization: Bearer x',
    'Authorization: Bearer y',
    '\x7f: x',
  ],
];
const starts = [
  ...['GET / HTTP/1.1', 'POST / HTTP/1.1', 'HEAD / HTTP/1.1', 'GET / HTTP/1.0', 'GET / HTTP/2.0', 'GET /'],
  ...[
    'GET  / HTTP/1.1',
    'get / HTTP/1.1',
    'GET http://x/ HTTP/1.1',
    'OPTIONS * HTTP/1.1',
    'CONNECT x:1 HTTP/1.1',
  ],
  ...[
    'PRI * HTTP/2.0',
    ' GET / HTTP/1.1',
    '\r\nGET / HTTP/1.1',
    'GET /\0 HTTP/1.1',
    'POST /%zz?%00 HTTP/1.1',
    '',
  ],
];
const bodies = [
  ...[
    '',
    '{}',
    '0\r\n\r\n',
    '2\r\n{}\r\n0\r\n\r\n',
    'ffffffffffffffff\r\n',
    '-1\r\n',
    '2;x="\r\n{}\r\n0\r\n\r\n',
  ],
  ...['2\r\n{}\r\n0\r\nX: y\r\n\r\n', '2\n{}\n0\n\n', 'x'.repeat(300), '2\r\n{}x\r\n', '\r\n\r\n\r\n'],
];

/** The bytes of a request that is wrong in some way, and now and then right. One byte a character. */
export function malformedRequest(random: Random): Buffer {
  const request = () => {
    const chosen = Array.from({ length: below(random, 5) }, () => oneOf(random, lines));
    const host = random() < 0.9 ? ['Host: x'] : [];
    return [oneOf(random, starts), ...host, ...chosen, '', oneOf(random, bodies)].join('\r\n');
  };
  const text = Array.from({ length: 1 + below(random, 3) }, request).join('');
  return mutated(random, Buffer.from(text, 'latin1'));
}

/** As they are, or with some bytes changed, cut, doubled or put in. */
export function mutated(random: Random, bytes: Buffer): Buffer {
  let changed = Buffer.from(bytes);
  for (let times = below(random, 4); times > 0; times--) {
    const at = below(random, changed.length + 1);
    const end = Math.min(changed.length, at + below(random, 20));
    const [before, within, after] = [
      changed.subarray(0, at),
      changed.subarray(at, end),
      changed.subarray(end),
    ];
    const noise = Buffer.from(Array.from({ length: below(random, 20) }, () => below(random, 256)));
    const special = Buffer.from(
      oneOf(random, ['\r\n', '\n', '\r', '\0', ':', ' ', '\r\n\r\n', '\xff']),
      'latin1',
    );
    changed = Buffer.concat(
      oneOf(random, [
        [before, after],
        [before, within, within, after],
        [before, noise, after],
        [before, special, after],
        [before],
      ]),
    );
  }
  return changed;
}

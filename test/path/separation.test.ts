import assert from 'node:assert/strict';
import test, { after, before, describe } from 'node:test';
import { servedEngines } from '../support/engines.ts';
import { startInProcess } from '../support/in-process.ts';
import {
  aeadAlgorithms,
  base64,
  codeOf,
  idOf,
  kemAlgorithms,
  type SealingClient,
  sealingClient,
} from '../support/sealing-client.ts';
import type { InProcessService } from '../support/service.ts';

/** Bytes that an operation made, with the nonce apart where it is. */
interface Made {
  readonly nonce: Buffer;
  readonly body: Buffer;
}

interface Maker {
  readonly path: string;
  /** Of the request, for a key. */
  make(client: SealingClient, kid: string): Promise<Made>;
  /** Algorithms whose keys do it. */
  readonly algs: readonly string[];
}

interface Opener {
  readonly path: string;
  request(made: Made, kid: string): object;
  readonly algs: readonly string[];
  /** Makers of whose work this one is the opener. */
  readonly opens: readonly string[];
}

const plaintext_b64 = base64(Buffer.alloc(32, 5));
const bytes = (text: string) => Buffer.from(text, 'base64');
const none = Buffer.alloc(0);
const joined = ({ nonce, body }: Made) => base64(Buffer.concat([nonce, body]));

/** Every operation that gives out something which a key opens. A new one has a row here, and so has what opens it. */
const makers: readonly Maker[] = [
  {
    path: '/encrypt',
    algs: aeadAlgorithms,
    async make(client, kid) {
      const { nonce_b64, ciphertext_b64 } = await client.good('/encrypt', { kid, plaintext_b64 });
      return { nonce: bytes(nonce_b64), body: bytes(ciphertext_b64) };
    },
  },
  {
    path: '/seal',
    algs: aeadAlgorithms,
    // The key of the purpose is the sealing key's own, so another one is tried with its bytes.
    async make(client) {
      const { sealed_b64 } = await client.good('/seal', { purpose: 'one', plaintext_b64 });
      return { nonce: none, body: bytes(sealed_b64) };
    },
  },
  ...['/wrap', '/datakey'].map(
    (path): Maker => ({
      path,
      algs: [...aeadAlgorithms, ...kemAlgorithms],
      async make(client, kid) {
        const asked = path === '/wrap' ? { plaintext_b64 } : { size: 32 };
        return { nonce: none, body: bytes((await client.good(path, { kid, ...asked })).wrapped_b64) };
      },
    }),
  ),
];

const nonceBytesOf = (kid: string) => (kid.includes('/xaes-') ? 24 : 12);

const openers: readonly Opener[] = [
  {
    path: '/decrypt',
    algs: aeadAlgorithms,
    opens: ['/encrypt'],
    request(made, kid) {
      const all = bytes(joined(made));
      const cut = nonceBytesOf(kid);
      return { kid, nonce_b64: base64(all.subarray(0, cut)), ciphertext_b64: base64(all.subarray(cut)) };
    },
  },
  {
    path: '/rewrap of a ciphertext',
    algs: aeadAlgorithms,
    opens: ['/encrypt'],
    request(made, kid) {
      const all = bytes(joined(made));
      const cut = nonceBytesOf(kid);
      return { kid, nonce_b64: base64(all.subarray(0, cut)), ciphertext_b64: base64(all.subarray(cut)) };
    },
  },
  ...['/unwrap', '/rewrap'].map(
    (path): Opener => ({
      path,
      algs: [...aeadAlgorithms, ...kemAlgorithms],
      opens: ['/wrap', '/datakey'],
      request: (made, kid) => ({ kid, wrapped_b64: joined(made) }),
    }),
  ),
];

const pathOf = ({ path }: Opener) => path.split(' ')[0] as string;

for (const { name: engine } of servedEngines()) {
  describe(`what one operation made opens by no other, with the ${engine} engine`, {
    timeout: 120_000,
  }, () => {
    let service: InProcessService;
    let client: SealingClient;
    before(async () => {
      service = await startInProcess({ env: { KMS_ENGINE: engine } });
      client = sealingClient(service);
    });
    after(() => service.stop());

    for (const maker of makers) {
      for (const opener of openers) {
        const opens = opener.opens.includes(maker.path);
        test(`${maker.path} and ${opener.path}: ${opens ? 'by its key alone' : 'never'}`, async () => {
          for (const alg of maker.algs.filter((alg) => opener.algs.includes(alg))) {
            const kid = await client.create(alg, 'one');
            const otherPurpose = await client.create(alg, 'other');
            const made = await maker.make(client, kid);
            const open = async (named: string) =>
              codeOf(await client.post(pathOf(opener), opener.request(made, named)));
            assert.equal(await open(kid), opens ? 'ok' : '400 BadRequest', alg);
            assert.equal(await open(otherPurpose), '400 BadRequest', `${alg}, a key of another purpose`);
            const next = await client.rotate(kid);
            assert.equal(await open(next), '400 BadRequest', `${alg}, another version`);
            assert.equal(await open(idOf(kid)), '400 BadRequest', `${alg}, the current version`);
            assert.equal(
              await open(kid),
              opens ? 'ok' : '400 BadRequest',
              `${alg}, the version that made it`,
            );
          }
        });
      }
    }
  });
}

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { describe, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { availableEngines } from '../support/engines.ts';
import { startInProcess } from '../support/in-process.ts';
import { base64, codeOf, idOf, type SealingClient, sealingClient } from '../support/sealing-client.ts';
import { helloWorldB3, type JsonAnswer } from '../support/service.ts';

/** `npm run drill:rotation` makes it a minute. */
const longMs = Number(process.env.DRILL_ROTATION_MS ?? 0);
/** Of each key at least, so that versions come and go however slow the machine is. */
const leastRotations = 8;
const versionsAlive = 4;
/** Things kept of each version, of which one at a time is tried again. */
const keptOfVersion = 64;

/** Something that a version made, and the question whether it still holds. */
interface Thing {
  readonly version: number;
  check(): Promise<JsonAnswer>;
  /** What a good answer says. */
  holds(answer: JsonAnswer): boolean;
}

interface Kind {
  readonly name: string;
  readonly alg: string;
  make(client: SealingClient, id: string): Promise<Thing>;
}

const versionOf = (kid: string) => Number(kid.split('#v')[1]);

const opens =
  (path: string, make: (id: string) => { path: string; body: (plaintext_b64: string) => object }) =>
  async (client: SealingClient, id: string): Promise<Thing> => {
    const plaintext_b64 = base64(randomBytes(32));
    const { path: maker, body } = make(id);
    const made = await client.good(maker, body(plaintext_b64));
    return {
      version: versionOf(made.kid),
      check: () => client.post(path, made),
      holds: (answer) => answer.body.plaintext_b64 === plaintext_b64 && answer.body.kid === made.kid,
    };
  };

const encrypts = opens('/decrypt', (kid) => ({
  path: '/encrypt',
  body: (plaintext_b64) => ({ kid, plaintext_b64 }),
}));
const wraps = opens('/unwrap', (kid) => ({
  path: '/wrap',
  body: (plaintext_b64) => ({ kid, plaintext_b64 }),
}));

const kinds: readonly Kind[] = [
  {
    name: 'sign and verify',
    alg: 'ed25519+ml-dsa-65',
    async make(client, kid) {
      const { sigs } = await client.good('/sign', { kid, payload_b3: helloWorldB3 });
      return {
        version: versionOf(sigs[0].kid),
        check: () => client.post('/verify', { payload_b3: helloWorldB3, sigs, policy: { mode: 'and' } }),
        holds: ({ body }) => body.ok,
      };
    },
  },
  { name: 'wrap and unwrap', alg: 'x25519+ml-kem-768', make: wraps },
  { name: 'wrap and unwrap by a secret key', alg: 'aes-256-gcm', make: wraps },
  { name: 'encrypt and decrypt', alg: 'xaes-256-gcm', make: encrypts },
];

/** One key under rotation, and what its versions made. */
class KeyUnderRotation {
  readonly kind: Kind;
  readonly things = new Map<number, Thing[]>();
  readonly done = { made: 0, held: 0, rotated: 0, gone: 0 };
  readonly #client: SealingClient;
  readonly #id: string;
  #current = 1;
  /** Versions up to here are destroyed, or are being destroyed. */
  #gone = 0;

  constructor(client: SealingClient, kind: Kind, kid: string) {
    this.#client = client;
    this.kind = kind;
    this.#id = idOf(kid);
  }

  get alive(): number {
    return this.#current - this.#gone;
  }

  async rotate(): Promise<void> {
    this.#current = versionOf(await this.#client.rotate(this.#id));
    this.done.rotated++;
    if (this.alive <= versionsAlive) return;
    this.#gone++;
    await this.#client.destroy(this.#id, this.#gone);
  }

  async use(turn: number): Promise<void> {
    const thing = await this.kind.make(this.#client, this.#id);
    this.done.made++;
    const kept = this.things.get(thing.version) ?? [];
    this.things.set(thing.version, kept);
    if (kept.length < keptOfVersion) kept.push(thing);
    // Of what is destroyed the newest version is asked for too, now and then.
    for (const version of this.things.keys()) if (version < this.#gone) this.things.delete(version);
    const versions = [...this.things.keys()].filter((version) => version > this.#gone || turn % 8 === 0);
    const old = this.things.get(versions[turn % versions.length] as number) ?? [thing];
    await this.check(old[turn % old.length] as Thing);
  }

  async check(thing: Thing): Promise<void> {
    const answer = await thing.check();
    const gone = thing.version <= this.#gone;
    if (gone && !held(answer, thing)) this.done.gone++;
    else {
      assert.ok(
        held(answer, thing),
        `${this.kind.name}, version ${thing.version}: ${JSON.stringify(answer.body)}`,
      );
      this.done.held++;
    }
  }

  /** Once nothing rotates any more: what is alive holds, and what is destroyed does not. */
  async checkAll(): Promise<void> {
    for (const [version, things] of this.things) {
      for (const thing of things) {
        const answer = await thing.check();
        if (version > this.#gone) assert.ok(held(answer, thing), `${this.kind.name}, version ${version}`);
        else assert.ok(['409 Conflict', 'ok'].includes(codeOf(answer)) && !held(answer, thing));
      }
    }
  }
}

function held(answer: JsonAnswer, thing: Thing): boolean {
  return answer.status === 200 && thing.holds(answer);
}

for (const { name: engine } of availableEngines()) {
  describe(`rotation against everything, with the ${engine} engine`, () => {
    test('everything older still verifies, unwraps and decrypts, with four versions alive', {
      timeout: 240_000 + 2 * longMs,
    }, async () => {
      const service = await startInProcess({ env: { KMS_ENGINE: engine } });
      const client = sealingClient(service);
      const keys = await Promise.all(
        kinds.map(async (kind) => new KeyUnderRotation(client, kind, await client.create(kind.alg))),
      );
      const untilMs = performance.now() + longMs;
      const goesOn = () =>
        performance.now() < untilMs || keys.some(({ done }) => done.rotated < leastRotations);
      const use = async (key: KeyUnderRotation) => {
        for (let turn = 0; goesOn(); turn++) await key.use(turn);
      };
      const rotate = async () => {
        while (goesOn()) {
          for (const key of keys) await key.rotate();
          // Versions are used before they go.
          await delay(longMs === 0 ? 5 : 50);
        }
      };
      await Promise.all([rotate(), ...keys.flatMap((key) => [use(key), use(key)])]);
      for (const key of keys) {
        await key.checkAll();
        assert.equal(key.alive, versionsAlive);
        assert.ok(key.done.held > leastRotations, `${key.kind.name}: ${JSON.stringify(key.done)}`);
      }
      if (longMs > 0) for (const { kind, done } of keys) console.log(engine, kind.name, JSON.stringify(done));
      assert.equal(await service.stop(), 0);
    });
  });
}

import assert from 'node:assert/strict';
import { Agent, request } from 'node:http';
import { request as requestTls, Agent as TlsAgent } from 'node:https';
import { setTimeout as wait } from 'node:timers/promises';
import { testPki } from '../support/listener-kinds.ts';
import { allScopes, mintFor } from '../support/requests.ts';
import type { ListeningService } from '../support/service.ts';
import type { GoldenCase, Who } from './ask.ts';
import { normaliseJson, normaliseMetrics, normaliseNote, normaliseText, shapeOf } from './normalise.ts';

/** One request and its answer as they stand in the file. */
export interface GoldenBlock {
  readonly name: string;
  readonly request: string;
  readonly sent?: unknown;
  readonly status: number;
  /** `name: value`, in their order. */
  readonly headers: readonly string[];
  readonly body: unknown;
}

interface Answer {
  readonly status: number;
  readonly headers: readonly (readonly [string, string])[];
  readonly bytes: Buffer;
}

/** What answers gave that later requests send, and what the bytes in later answers are called. */
export class Facts {
  readonly #texts = new Map<string, string>();
  readonly names = new Map<string, string>();

  keep(
    name: string,
    answer: { kid?: string; sigs?: { signature_b64: string }[]; next_cursor?: string },
  ): void {
    const { kid, sigs = [], next_cursor: cursor, ...others } = answer;
    for (const [member, text] of Object.entries(others))
      if (typeof text === 'string') this.#texts.set(`made:${name}.${member}`, text);
    if (cursor !== undefined) this.#texts.set(`cursor:${name}`, cursor);
    if (kid !== undefined) {
      const id = kid.replace(/#v\d+$/, '');
      this.#texts.set(`kid:${name}`, kid).set(`id:${name}`, id);
      const uuid = id.slice(id.lastIndexOf('/') + 1);
      // The first name stays: a second version is one of the same key.
      if (!this.names.has(uuid)) this.names.set(uuid, `{${name}}`);
    }
    for (const [index, { signature_b64: text }] of sigs.entries()) {
      const bytes = Buffer.from(text, 'base64');
      bytes[bytes.length - 8] = (bytes[bytes.length - 8] as number) ^ 1;
      this.#texts.set(`sig:${name}.${index}`, text);
      this.#texts.set(`flipped:${name}.${index}`, bytes.toString('base64'));
    }
  }

  fill(text: string, encode: (filled: string) => string = String): string {
    return text.replace(/\{((?:kid|id|sig|flipped|cursor|made):[^}]+)\}/g, (_, name: string) => {
      const filled = this.#texts.get(name);
      assert.ok(filled !== undefined, `no answer gave ${name}`);
      return encode(filled);
    });
  }
}

export function tokensFor(service: ListeningService): Readonly<Record<Who, string | undefined>> {
  const mint = (tenant: string, ...scopes: string[]) => mintFor(service.dataDir, { tenant, scopes });
  const acme = mint('acme', ...allScopes);
  const at = acme.length >> 1;
  return {
    operator: service.token,
    acme,
    reader: mint('acme', 'kms:read'),
    acmeAdmin: mint('acme', 'kms:admin'),
    auditor: mint('acme', 'kms:audit'),
    globex: mint('globex', ...allScopes),
    expired: mintFor(service.dataDir, { tenant: 'acme', scopes: allScopes, expiresAtMs: 1_700_000_000_000 }),
    forged: `${acme.slice(0, at)}${acme[at] === 'A' ? 'B' : 'A'}${acme.slice(at + 1)}`,
    nobody: undefined,
  };
}

/** Sends it, keeps what is to be kept, and gives its block. */
export async function runCase(
  service: ListeningService,
  token: string | undefined,
  asked: GoldenCase,
  facts: Facts,
): Promise<GoldenBlock> {
  let answer = await send(service, token, asked, facts);
  for (let tries = 0; asked.eventually && answer.status !== 200 && tries < 100; tries++) {
    await wait(100);
    answer = await send(service, token, asked, facts);
  }
  if (asked.keep !== undefined) {
    assert.ok(answer.status < 300, `${asked.name}: ${answer.bytes}`);
    facts.keep(asked.keep, JSON.parse(answer.bytes.toString()));
  }
  const body = bodyOf(asked.path, answer, facts.names);
  const { name, as, method, path } = asked;
  return {
    name,
    request: `${method} ${path} as ${as}${asked.headers ? ` with ${JSON.stringify(asked.headers)}` : ''}`,
    ...(asked.json === undefined ? {} : { sent: asked.json }),
    ...(asked.text === undefined ? {} : { sent: `${asked.text}${asked.repeat ? ` x ${asked.repeat}` : ''}` }),
    status: answer.status,
    headers: answer.headers.map(
      ([header, value]) => `${header}: ${headerValue(header, value, answer, facts)}`,
    ),
    body,
  };
}

/** On a connection of its own, with the bytes of path and body as they are. */
function send(
  service: ListeningService,
  token: string | undefined,
  { method, path, json, text, repeat = 1, latin1, headers }: GoldenCase,
  facts: Facts,
): Promise<Answer> {
  const body =
    json === undefined && text === undefined
      ? undefined
      : Buffer.from(facts.fill(text?.repeat(repeat) ?? JSON.stringify(json)), latin1 ? 'latin1' : 'utf8');
  return new Promise((resolve, reject) => {
    const { send: request, agent, ...place } = targetOf(service.url);
    const outgoing = request(
      {
        ...{ ...place, method, agent },
        path: facts.fill(path, encodeURIComponent),
        headers: {
          ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
          ...(body === undefined ? {} : { 'content-length': body.length }),
          ...headers,
        },
      },
      (incoming) => {
        const chunks: Buffer[] = [];
        incoming.on('data', (chunk: Buffer) => chunks.push(chunk));
        incoming.on('error', reject);
        incoming.on('end', () => {
          agent.destroy();
          const raw = incoming.rawHeaders;
          const pairs = raw.flatMap((entry, at) =>
            at % 2 === 0 ? [[entry, raw[at + 1] as string] as const] : [],
          );
          resolve({ status: incoming.statusCode as number, headers: pairs, bytes: Buffer.concat(chunks) });
        });
      },
    );
    outgoing.on('error', reject);
    outgoing.end(body);
  });
}

/** A listener of any kind, as node:http names it, and an agent that says keep-alive. */
function targetOf(url: string) {
  if (url.startsWith('unix:'))
    return { send: request, agent: new Agent({ keepAlive: true }), socketPath: url.slice('unix:'.length) };
  const { hostname: host, port, protocol } = new URL(url);
  if (protocol === 'http:') return { send: request, agent: new Agent({ keepAlive: true }), host, port };
  const ca = testPki.authority.cert;
  return { send: requestTls, agent: new TlsAgent({ keepAlive: true, ca }), host, port };
}

function headerValue(header: string, value: string, answer: Answer, { names }: Facts): string {
  switch (header.toLowerCase()) {
    case 'content-length':
      return Number(value) === answer.bytes.length ? '<of the body>' : '<other than the body>';
    case 'date':
      return '<date>';
    case 'retry-after':
      return value.replace(/^\d+$/, '<s>');
    default:
      return normaliseText(value, names);
  }
}

function bodyOf(path: string, { headers, bytes }: Answer, names: ReadonlyMap<string, string>): unknown {
  const text = bytes.toString();
  const type = headers.find(([name]) => name.toLowerCase() === 'content-type')?.[1] ?? '';
  if (text === '') return '';
  if (type === 'application/json') {
    const json = JSON.parse(text);
    assert.equal(JSON.stringify(json), text, 'JSON as JSON.stringify writes it');
    return /^\/(version|readyz|healthz)$|admin\/load$/.test(path) && !('error' in json)
      ? shapeOf(json)
      : normaliseJson(json, names);
  }
  if (path === '/metrics') return normaliseMetrics(text);
  return type.startsWith('text/plain') ? normaliseNote(text) : '<bytes>';
}

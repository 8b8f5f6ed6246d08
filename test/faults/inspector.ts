import assert from 'node:assert/strict';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ServiceProcess } from '../support/service.ts';

/** Lets a service open its inspector on a port of its own, which takes two consents; pass this as its environment. */
export const inspectable = { NODE_OPTIONS: '--inspect=127.0.0.1:0', KMS_ALLOW_CORE_DUMPS: 'true' };

export interface Heap {
  /** Every string on the heap of the main thread. */
  readonly strings: string;
  /** The contents of every live ArrayBuffer of the main thread, one after the other. */
  readonly buffers: Buffer;
}

/** What a service's main thread holds in JavaScript, as its own inspector shows it. */
export async function readHeap(service: ServiceProcess): Promise<Heap> {
  let address: string | undefined;
  while (address === undefined) {
    await sleep(5);
    address = /ws:\/\/\S+/.exec(service.errors())?.[0];
  }
  const session = await connect(address);
  let snapshot = '';
  session.on('HeapProfiler.addHeapSnapshotChunk', ({ chunk }) => {
    snapshot += chunk;
  });
  await session.post('HeapProfiler.enable');
  await session.post('HeapProfiler.takeHeapSnapshot', { reportProgress: false });
  const { strings } = JSON.parse(snapshot) as { strings: string[] };

  // A snapshot has no contents of ArrayBuffers.
  const prototype = await session.post('Runtime.evaluate', { expression: 'ArrayBuffer.prototype' });
  const all = await session.post('Runtime.queryObjects', { prototypeObjectId: prototype.result.objectId });
  const contents = await session.post('Runtime.callFunctionOn', {
    objectId: all.objects.objectId,
    functionDeclaration: `function () {
      let text = '';
      for (const buffer of this) {
        if (buffer.detached) continue;
        for (let at = 0; at < buffer.byteLength; at += 0x8000) {
          const part = new Uint8Array(buffer, at, Math.min(0x8000, buffer.byteLength - at));
          text += String.fromCharCode(...part);
        }
      }
      return btoa(text);
    }`,
    returnByValue: true,
  });
  session.close();
  return { strings: strings.join('\n'), buffers: Buffer.from(contents.result.value, 'base64') };
}

// biome-ignore lint/suspicious/noExplicitAny: answers of the DevTools protocol.
type Answer = any;

async function connect(address: string) {
  const socket = new WebSocket(address);
  await once(socket, 'open');
  const waiting = new Map<number, (answer: { result?: Answer; error?: unknown }) => void>();
  const listeners = new Map<string, (params: Answer) => void>();
  socket.addEventListener('message', ({ data }) => {
    const message = JSON.parse(String(data));
    if (message.id === undefined) listeners.get(message.method)?.(message.params);
    else waiting.get(message.id)?.(message);
  });
  let id = 0;
  return {
    on: (method: string, listener: (params: Answer) => void) => void listeners.set(method, listener),
    async post(method: string, params: object = {}): Promise<Answer> {
      id += 1;
      const answer = new Promise<{ result?: Answer; error?: unknown }>((resolve) => {
        waiting.set(id, resolve);
      });
      socket.send(JSON.stringify({ id, method, params }));
      const { result, error } = await answer;
      assert.equal(error, undefined);
      return result;
    },
    close: () => socket.close(),
  };
}

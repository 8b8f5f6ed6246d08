import assert from 'node:assert/strict';
import { setTimeout as delay } from 'node:timers/promises';
import type { AnswerStream, Exchange, Response } from '../../src/http/exchange.ts';
import { until } from '../support/keyring.ts';
import { type Contract, head } from './listener-harness.ts';

/** Answers that go on until one side ends them. */
export function streamsContract({ check, open }: Contract): void {
  const openStreams = async (t: Parameters<typeof open>[0]) => {
    const streams: AnswerStream[] = [];
    const ended: AnswerStream[] = [];
    const answer = ({ path }: Exchange): Response => ({
      ...{ status: 200, headers: [['content-type', 'text/event-stream']], body: '' },
      stream(to) {
        streams.push(to);
        to.onEnd(() => ended.push(to));
        to.send(`${path}\n`);
      },
    });
    const opened = await open(t, 'later', answer);
    return { ...opened, streams, ended };
  };

  check('an answer that goes on is sent chunk by chunk, and ends when it is ended', async (t) => {
    const { connect, streams, ended } = await openStreams(t);
    const connection = connect();
    connection.send(head('GET /a'));
    await connection.until(() => connection.received.includes('\r\n3\r\n/a\n'));
    assert.match(connection.received, /^HTTP\/1\.1 200 OK\r\n/);
    assert.match(connection.received, /\r\ncontent-type: text\/event-stream\r\n/);
    assert.match(connection.received, /\r\nTransfer-Encoding: chunked\r\n/i);
    assert.match(connection.received, /\r\nDate: [^\r]* GMT\r\n/);
    assert.doesNotMatch(connection.received, /Content-Length/i);
    const [stream] = streams;
    assert.equal(stream?.send('Zoë\n'), undefined);
    await connection.until(() => connection.received.includes('\r\n5\r\nZo\xc3\xab\n'));
    assert.equal(ended.length, 0);
    stream?.end();
    stream?.end();
    await connection.until(() => connection.received.endsWith('0\r\n\r\n'));
    assert.deepEqual(ended, streams);
    assert.equal(stream?.send('late'), undefined, 'nothing is sent behind the end');
  });

  check('one whose client has gone is told of it once, and stops no drain', async (t) => {
    const { connect, listener, streams, ended } = await openStreams(t);
    const [leaving, staying] = [connect(), connect()];
    for (const connection of [leaving, staying]) connection.send(head('GET /'));
    await until(() => streams.length === 2);
    await leaving.until(() => leaving.received.includes('/\n'));
    leaving.leave('destroy');
    // A listener may come to know of it only when it sends.
    await until(() => {
      for (const stream of streams) void stream.send('x\n');
      return ended.length > 0;
    });
    assert.equal(ended.length, 1);
    let told = 0;
    ended[0]?.onEnd(() => told++);
    assert.equal(told, 1, 'at once where it has ended');
    listener.stopAccepting();
    await listener.drain();
    listener.close();
    await staying.closed();
    await until(() => ended.length === 2);
  });

  check(
    'a client that closes its side has left an answer that goes on, before anything is sent',
    async (t) => {
      const { connect, streams, ended } = await openStreams(t);
      const connection = connect();
      connection.send(head('GET /'));
      await connection.until(() => connection.received.includes('/\n'));
      connection.leave('end');
      await until(() => ended.length === 1);
      assert.deepEqual(ended, streams);
      await connection.closed();
    },
  );

  check('a client that does not read holds up what is sent, and reads all of it later', async (t) => {
    const { connect, streams } = await openStreams(t);
    const connection = connect();
    connection.send(head('GET /'));
    await connection.until(() => connection.received.includes('/\n'));
    connection.socket.pause();
    const [stream] = streams as [AnswerStream];
    const chunk = '~'.repeat(65_536);
    let sent = 0;
    let behind: Promise<void> | undefined;
    let caughtUp = false;
    // The buffers of both systems take some MB; what they take is taken within a few turns.
    while (sent < 1_000) {
      behind = stream.send(chunk);
      sent++;
      caughtUp = behind === undefined;
      void behind?.then(() => {
        caughtUp = true;
      });
      for (let turn = 0; !caughtUp && turn < 20; turn++) await delay(5);
      if (!caughtUp) break;
    }
    assert.equal(caughtUp, false, 'it is told that the client is behind');
    connection.socket.resume();
    await behind;
    stream.end();
    await connection.until(() => connection.received.endsWith('\r\n0\r\n\r\n'));
    assert.equal(connection.received.split('~').length - 1, sent * chunk.length);
  });

  check('one that is ended while its client is behind is dropped', async (t) => {
    const { connect, streams, ended } = await openStreams(t);
    const connection = connect();
    connection.send(head('GET /'));
    await connection.until(() => connection.received.includes('/\n'));
    connection.socket.pause();
    const [stream] = streams as [AnswerStream];
    while (stream.send('~'.repeat(1_048_576)) === undefined);
    stream.end();
    assert.deepEqual(ended, streams);
    connection.socket.resume();
    await connection.closed();
    assert.doesNotMatch(connection.received, /\r\n0\r\n\r\n$/);
  });

  check('HEAD has the head alone', async (t) => {
    const { connect, streams } = await openStreams(t);
    const connection = connect();
    connection.send(head('HEAD /'));
    await connection.until(() => connection.received.endsWith('\r\n\r\n'));
    assert.equal(streams.length, 0);
  });
}

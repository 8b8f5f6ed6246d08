import { connect, type Socket } from 'node:net';
import { text } from 'node:stream/consumers';
import { build, type Histogram } from 'hdr-histogram-js';
import type { LoadPlan, LoadRequest, LoadResult, LoadStream, Quantiles, StreamResult } from './plan.ts';

/**
 * The load generator: a process of its own, so that its work is not counted as the server's and its pauses do not
 * become the server's. Reads a LoadPlan from standard input, prints a LoadResult. Loopback only; ends by itself.
 */

/** 1 us to 60 s at three digits. */
function histogram(): Histogram {
  return build({
    lowestDiscernibleValue: 1,
    highestTrackableValue: 60_000_000,
    numberOfSignificantValueDigits: 3,
  });
}

function wire(request: LoadRequest, plan: LoadPlan): Buffer {
  const body = request.body ?? '';
  const lines = [
    `${request.method} ${request.path} HTTP/1.1`,
    `Host: ${plan.host}:${plan.port}`,
    ...(request.token === '' ? [] : [`Authorization: Bearer ${request.token}`]),
    ...Object.entries(request.headers ?? {}).map(([name, value]) => `${name}: ${value}`),
    ...(request.method === 'POST'
      ? ['Content-Type: application/json', `Content-Length: ${Buffer.byteLength(body)}`]
      : []),
  ];
  return Buffer.from(`${lines.join('\r\n')}\r\n\r\n${body}`);
}

const headEnd = Buffer.from('\r\n\r\n');

/** One keep-alive connection with at most one request under way. */
class Connection {
  readonly #plan: LoadPlan;
  readonly #onAnswer: (connection: Connection, status: number) => void;
  #socket: Socket | undefined;
  #pending: Buffer | undefined;
  dueAtUs = 0;
  busy = false;

  constructor(plan: LoadPlan, onAnswer: (connection: Connection, status: number) => void) {
    this.#plan = plan;
    this.#onAnswer = onAnswer;
  }

  open(): Promise<void> {
    return new Promise((resolve) => {
      const socket = connect({ host: this.#plan.host, port: this.#plan.port, noDelay: true });
      socket.on('data', (chunk) => this.#read(chunk));
      socket.on('error', () => {});
      socket.on('close', () => {
        this.#socket = undefined;
        this.#pending = undefined;
        if (this.busy) {
          this.busy = false;
          this.#onAnswer(this, 0);
        }
        resolve();
      });
      socket.on('connect', () => {
        this.#socket = socket;
        resolve();
      });
    });
  }

  send(bytes: Buffer, dueAtUs: number): void {
    this.dueAtUs = dueAtUs;
    this.busy = true;
    if (this.#socket !== undefined) this.#socket.write(bytes);
    else void this.open().then(() => this.#socket?.write(bytes));
  }

  close(): void {
    this.busy = false;
    this.#socket?.destroy();
  }

  #read(chunk: Buffer): void {
    const data = this.#pending === undefined ? chunk : Buffer.concat([this.#pending, chunk]);
    const end = data.indexOf(headEnd);
    if (end !== -1) {
      const head = data.toString('latin1', 0, end);
      const length = /content-length: (\d+)/i.exec(head)?.[1];
      if (data.length >= end + 4 + Number(length ?? 0)) {
        this.#pending = undefined;
        this.busy = false;
        this.#onAnswer(this, Number(head.slice(9, 12)));
        return;
      }
    }
    this.#pending = data;
  }
}

function nowUs(): number {
  return performance.now() * 1000;
}

/** Between two ticks of a 1 ms timer on a busy machine. */
const punctualUs = 2_500;

class Stream {
  readonly #stream: LoadStream;
  readonly #wires: readonly Buffer[];
  readonly #idle: Connection[] = [];
  readonly #all: Connection[] = [];
  /** Due, but no connection was free: times at which they were due. */
  readonly #late: number[] = [];
  readonly #latency = histogram();
  readonly #refusals = histogram();
  readonly #statuses = new Map<number, number>();
  #next = 0;
  #sent = 0;
  #answered = 0;
  #succeeded = 0;
  #dueCount = 0;
  #startUs = 0;
  #tickedAtUs = 0;
  #countFromUs = 0;
  #stopped = false;

  constructor(stream: LoadStream, plan: LoadPlan) {
    this.#stream = stream;
    this.#wires = stream.requests.map((request) => wire(request, plan));
    for (let n = 0; n < stream.connections; n++) {
      const connection = new Connection(plan, (from, status) => this.#answer(from, status));
      this.#all.push(connection);
      this.#idle.push(connection);
    }
  }

  async connect(): Promise<void> {
    for (const connection of this.#all) await connection.open();
  }

  start(startUs: number, warmUpMs: number): void {
    this.#startUs = startUs;
    this.#tickedAtUs = startUs;
    this.#countFromUs = startUs + warmUpMs * 1000;
    if (this.#stream.ratePerSecond === 0)
      for (const connection of this.#idle.splice(0)) this.#send(connection, nowUs());
  }

  /**
   * Sends what has become due. Arrivals come in the little bursts of a 1 ms timer and are timed from their burst; when
   * the timer itself was later than that, from when they were due, so that a pause of this process hides nothing.
   */
  tick(atUs: number): void {
    const { ratePerSecond } = this.#stream;
    if (ratePerSecond === 0) return;
    const punctual = atUs - this.#tickedAtUs <= punctualUs;
    this.#tickedAtUs = atUs;
    const due = Math.floor(((atUs - this.#startUs) / 1e6) * ratePerSecond);
    while (this.#dueCount < due) {
      this.#dueCount++;
      const dueAtUs = punctual ? atUs : this.#startUs + (this.#dueCount / ratePerSecond) * 1e6;
      const connection = this.#idle.pop();
      if (connection === undefined) this.#late.push(dueAtUs);
      else this.#send(connection, dueAtUs);
    }
  }

  stop(): void {
    this.#stopped = true;
  }

  result(countedMs: number): StreamResult {
    const unanswered = this.#late.length + this.#all.filter((connection) => connection.busy).length;
    for (const connection of this.#all) connection.close();
    return {
      name: this.#stream.name,
      sent: this.#sent,
      statuses: Object.fromEntries([...this.#statuses].map(([status, count]) => [String(status), count])),
      answeredPerSecond: (this.#answered / countedMs) * 1000,
      okPerSecond: (this.#succeeded / countedMs) * 1000,
      latencyMs: quantiles(this.#latency),
      refusalMs: quantiles(this.#refusals),
      unanswered,
    };
  }

  #send(connection: Connection, dueAtUs: number): void {
    this.#sent++;
    connection.send(this.#wires[this.#next++ % this.#wires.length] as Buffer, dueAtUs);
  }

  #answer(connection: Connection, status: number): void {
    const atUs = nowUs();
    if (this.#stopped) return;
    if (connection.dueAtUs >= this.#countFromUs) {
      const tookUs = Math.max(1, Math.round(atUs - connection.dueAtUs));
      const succeeded = status >= 200 && status < 300;
      (succeeded ? this.#latency : this.#refusals).recordValue(Math.min(tookUs, 60_000_000));
      this.#answered++;
      if (succeeded) this.#succeeded++;
      this.#statuses.set(status, (this.#statuses.get(status) ?? 0) + 1);
    }
    if (this.#stream.ratePerSecond === 0) {
      this.#send(connection, atUs);
      return;
    }
    const dueAtUs = this.#late.shift();
    if (dueAtUs === undefined) this.#idle.push(connection);
    else this.#send(connection, dueAtUs);
  }
}

function quantiles(values: Histogram): Quantiles {
  const at = (percentile: number) => values.getValueAtPercentile(percentile) / 1000;
  return {
    p50: at(50),
    p95: at(95),
    p99: at(99),
    p999: at(99.9),
    max: values.maxValue / 1000,
    count: values.totalCount,
  };
}

async function run(plan: LoadPlan): Promise<LoadResult> {
  const streams = plan.streams.map((stream) => new Stream(stream, plan));
  for (const stream of streams) await stream.connect();
  const startUs = nowUs();
  const endUs = startUs + (plan.warmUpMs + plan.durationMs) * 1000;
  for (const stream of streams) stream.start(startUs, plan.warmUpMs);
  await new Promise<void>((resolve) => {
    const turn = () => {
      const atUs = nowUs();
      if (atUs >= endUs) return resolve();
      for (const stream of streams) stream.tick(atUs);
      next();
    };
    // Timers are only good to a millisecond, and a slow stream must not make this process spin on a core that the
    // server needs; bursts of one millisecond's requests are timed from when each was due.
    const next = () => setTimeout(turn, 1);
    turn();
  });
  for (const stream of streams) stream.stop();
  const elapsedMs = (nowUs() - startUs) / 1000 - plan.warmUpMs;
  return { elapsedMs, streams: streams.map((stream) => stream.result(elapsedMs)) };
}

const result = await run(JSON.parse(await text(process.stdin)) as LoadPlan);
process.stdout.write(JSON.stringify(result));

import { setPriority } from 'node:os';
import { text } from 'node:stream/consumers';
import { type CpuTime, cpuTime } from '../support/cpu.ts';
import { Connection, wire } from './connection.ts';
import { histogram, Parts, quantiles } from './parts.ts';
import type { LoadPlan, LoadResult, LoadStream, StreamResult } from './plan.ts';

/**
 * The load generator: a process of its own, so that its work is not counted as the server's and its pauses do not
 * become the server's. Reads a LoadPlan from standard input, prints a LoadResult. Loopback only; ends by itself.
 * In the place of the one in native/ where that cannot be built: less punctual, and dearer for each request.
 */

function nowUs(): number {
  return performance.now() * 1000;
}

/** First in, first out, without moving what stays: a flood that cannot be sent leaves a long queue behind. */
class Fifo {
  #values: number[] = [];
  #head = 0;

  get length(): number {
    return this.#values.length - this.#head;
  }

  push(value: number): void {
    this.#values.push(value);
  }

  shift(): number | undefined {
    const value = this.#values[this.#head];
    if (value === undefined) return undefined;
    this.#head++;
    if (this.#head === 4096) {
      this.#values = this.#values.slice(this.#head);
      this.#head = 0;
    }
    return value;
  }
}

/** Between two ticks of a 1 ms timer on a busy machine. */
const punctualUs = 2_500;

class Stream {
  readonly #stream: LoadStream;
  readonly #wires: readonly Buffer[];
  readonly #idle: Connection[] = [];
  readonly #all: Connection[] = [];
  /** Due, but no connection was free: times at which they were due. */
  readonly #late = new Fifo();
  readonly #latency = histogram();
  readonly #refusals = histogram();
  readonly #statuses = new Map<number, number>();
  #next = 0;
  #sent = 0;
  #sentBefore = 0;
  #answered = 0;
  #succeeded = 0;
  #dueCount = 0;
  #unsent = 0;
  readonly #phases: Parts;
  readonly #windows: Parts;
  #startUs = 0;
  #tickedAtUs = 0;
  #countFromUs = 0;
  #stopped = false;
  /** Answers since the start, of whatever status. */
  answers = 0;

  constructor(stream: LoadStream, plan: LoadPlan) {
    this.#stream = stream;
    this.#phases = new Parts({ bordersMs: (stream.laterRates ?? []).map(({ fromMs }) => fromMs) });
    this.#windows = new Parts({ eachMs: stream.windowMs ?? 0 });
    this.#wires = stream.requests.map((request) => wire(request, plan));
    const options = { host: plan.host, port: plan.port, keepBodies: false, via: plan.via };
    for (let n = 0; n < stream.connections; n++) {
      const connection = new Connection(options, (from, { status }) => this.#answer(from, status));
      this.#all.push(connection);
      this.#idle.push(connection);
    }
  }

  async connect(): Promise<void> {
    // A server's backlog of connections holds more than this.
    for (let n = 0; n < this.#all.length; n += 64) {
      await Promise.all(this.#all.slice(n, n + 64).map((connection) => connection.open()));
    }
  }

  start(startUs: number, warmUpMs: number): void {
    this.#startUs = startUs;
    this.#tickedAtUs = startUs;
    this.#countFromUs = startUs + warmUpMs * 1000;
    for (const parts of this.#parts) parts.start(startUs, this.#countFromUs);
    if (this.#stream.ratePerSecond === 0)
      for (const connection of this.#idle.splice(0)) this.#send(connection, nowUs());
  }

  get #parts(): readonly Parts[] {
    return [this.#phases, this.#windows];
  }

  /** Requests that are due after so long, and the rate then. */
  #dueAfter(elapsedS: number): { readonly count: number; readonly ratePerSecond: number } {
    let { ratePerSecond } = this.#stream;
    let count = 0;
    let fromS = 0;
    for (const phase of this.#stream.laterRates ?? []) {
      if (phase.fromMs / 1000 > elapsedS) break;
      count += (phase.fromMs / 1000 - fromS) * ratePerSecond;
      fromS = phase.fromMs / 1000;
      ratePerSecond = phase.ratePerSecond;
    }
    return { count: Math.floor(count + (elapsedS - fromS) * ratePerSecond), ratePerSecond };
  }

  /** The counted part begins. */
  count(): void {
    this.#sentBefore = this.#sent;
  }

  /**
   * Sends what has become due. Arrivals come in the little bursts of a 1 ms timer and are timed from their burst; when
   * the timer itself was later than that, from when they were due, so that a pause of this process hides nothing.
   */
  tick(atUs: number): void {
    if (this.#stream.ratePerSecond === 0) return;
    const punctual = atUs - this.#tickedAtUs <= punctualUs;
    this.#tickedAtUs = atUs;
    const { count: due, ratePerSecond } = this.#dueAfter((atUs - this.#startUs) / 1e6);
    while (this.#dueCount < due) {
      this.#dueCount++;
      const dueAtUs = punctual ? atUs : atUs - ((due - this.#dueCount) / ratePerSecond) * 1e6;
      const connection = this.#idle.pop();
      if (connection !== undefined) this.#send(connection, dueAtUs);
      else if (this.#stream.givesUp === true) {
        this.#unsent++;
        for (const parts of this.#parts) parts.unsent(dueAtUs);
      } else this.#late.push(dueAtUs);
    }
  }

  stop(): void {
    this.#stopped = true;
  }

  result(countedMs: number, endUs: number): StreamResult {
    const phases = this.#phases.results(endUs);
    const windows = this.#windows.results(endUs);
    const unanswered = this.#late.length + this.#all.filter((connection) => connection.busy).length;
    for (const connection of this.#all) connection.close();
    const perSecond = (count: number) => (count / countedMs) * 1000;
    return {
      name: this.#stream.name,
      sent: this.#sent,
      sentPerSecond: perSecond(this.#sent - this.#sentBefore),
      statuses: Object.fromEntries([...this.#statuses].map(([status, count]) => [String(status), count])),
      answeredPerSecond: perSecond(this.#answered),
      okPerSecond: perSecond(this.#succeeded),
      latencyMs: quantiles(this.#latency),
      refusalMs: quantiles(this.#refusals),
      unanswered,
      unsent: this.#unsent,
      ...(phases.length > 0 ? { phases } : undefined),
      ...(windows.length > 0 ? { windows } : undefined),
    };
  }

  #send(connection: Connection, dueAtUs: number): void {
    this.#sent++;
    for (const parts of this.#parts) parts.sent(dueAtUs);
    connection.send(this.#wires[this.#next++ % this.#wires.length] as Buffer, dueAtUs);
  }

  #answer(connection: Connection, status: number): void {
    const atUs = nowUs();
    if (this.#stopped) return;
    this.answers++;
    // By the time of the answer: where more is due than connections can carry, the wait for one counts as well.
    if (atUs >= this.#countFromUs) {
      const tookUs = Math.max(1, Math.round(atUs - connection.dueAtUs));
      const succeeded = status >= 200 && status < 300;
      (succeeded ? this.#latency : this.#refusals).recordValue(Math.min(tookUs, 60_000_000));
      this.#answered++;
      for (const parts of this.#parts) parts.answered(atUs, status, tookUs);
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

/** Everything that has one value at each end of the counted part. */
interface Reading {
  readonly atUs: number;
  readonly server: CpuTime | undefined;
  readonly answers: number;
  readonly own: NodeJS.CpuUsage;
}

function read(plan: LoadPlan, streams: readonly Stream[]): Reading {
  const { serverPid } = plan;
  return {
    atUs: nowUs(),
    server: serverPid === undefined ? undefined : cpuTime(serverPid),
    answers: streams.reduce((sum, stream) => sum + stream.answers, 0),
    own: process.cpuUsage(),
  };
}

async function run(plan: LoadPlan): Promise<LoadResult> {
  if (plan.niceness !== undefined) setPriority(plan.niceness);
  const streams = plan.streams.map((stream) => new Stream(stream, plan));
  for (const stream of streams) await stream.connect();
  const startUs = nowUs();
  const countFromUs = startUs + plan.warmUpMs * 1000;
  const endUs = countFromUs + plan.durationMs * 1000;
  for (const stream of streams) stream.start(startUs, plan.warmUpMs);
  const turnsUntil = (untilUs: number) =>
    new Promise<void>((resolve) => {
      const turn = () => {
        const atUs = nowUs();
        if (atUs >= untilUs) return resolve();
        for (const stream of streams) stream.tick(atUs);
        // Timers are only good to a millisecond, and a slow stream must not make this process spin on a core that the
        // server needs; bursts of one millisecond's requests are timed from when each was due.
        setTimeout(turn, 1);
      };
      turn();
    });
  await turnsUntil(countFromUs);
  const before = read(plan, streams);
  for (const stream of streams) stream.count();
  await turnsUntil(endUs);
  const after = read(plan, streams);
  for (const stream of streams) stream.stop();

  const elapsedMs = (after.atUs - countFromUs) / 1000;
  const ownUs = after.own.user + after.own.system - before.own.user - before.own.system;
  return {
    elapsedMs,
    streams: streams.map((stream) => stream.result(elapsedMs, after.atUs)),
    generatorCpuShare: ownUs / (after.atUs - before.atUs),
    ...(before.server === undefined || after.server === undefined
      ? undefined
      : {
          server: {
            cpuUs: after.server.cpuUs - before.server.cpuUs,
            mainThreadUs: after.server.mainThreadUs - before.server.mainThreadUs,
            answers: after.answers - before.answers,
          },
        }),
  };
}

const result = await run(JSON.parse(await text(process.stdin)) as LoadPlan);
process.stdout.write(JSON.stringify(result));

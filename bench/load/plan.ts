/** One run of the load generator: plain data, handed over as JSON. */
export interface LoadPlan {
  readonly host: '127.0.0.1';
  readonly port: number;
  /** Another way to the server than TCP to host and port. TLS is known to the generator in Node alone. */
  readonly via?: Via;
  readonly durationMs: number;
  /** Answers in this first part of the run are not counted. */
  readonly warmUpMs: number;
  readonly streams: readonly LoadStream[];
  /** The server, whose CPU is read at both ends of the counted part. */
  readonly serverPid?: number;
  /**
   * Scheduling priority of the generator, as nice(2) has it. A flood's generator at 19 is as near as one machine comes
   * to a flood from another: it takes only what processor time the server and the victim's generator leave.
   */
  readonly niceness?: number;
}

/** A Unix socket, or TLS with a certificate and the authority of the server's, in PEM. */
export type Via =
  | { readonly path: string }
  | { readonly ca: string; readonly cert?: string; readonly key?: string };

/** One kind of caller. */
export interface LoadStream {
  readonly name: string;
  readonly connections: number;
  /**
   * Requests a second, sent when they are due whether or not earlier ones were answered, and timed from when they were
   * due (open loop: no coordinated omission). The native generator makes them a Poisson process with a seed of the
   * stream's name, the one in Node even bursts of a millisecond. 0: each connection sends as soon as it has its answer (closed loop).
   */
  readonly ratePerSecond: number;
  /** Further rates of an open loop, each from that time after the start on, warm-up included; in order. */
  readonly laterRates?: readonly { readonly fromMs: number; readonly ratePerSecond: number }[];
  /**
   * True: a request that is due while all connections wait is never sent, as by a caller whose pool is used up, instead
   * of when one is free. Without it an overload goes on after its end until all of it was sent.
   */
  readonly givesUp?: boolean;
  /** The counted part is also told in windows of this length. */
  readonly windowMs?: number;
  /** Taken in turn. */
  readonly requests: readonly LoadRequest[];
}

export interface LoadRequest {
  readonly method: 'GET' | 'POST';
  readonly path: string;
  readonly token: string;
  readonly body?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

export interface LoadResult {
  readonly elapsedMs: number;
  readonly streams: readonly StreamResult[];
  /** Of the counted part; absent where no `serverPid` was given. */
  readonly server?: ServerUse;
  /** Of the counted part: near 1, and the generator is what limits. */
  readonly generatorCpuShare: number;
}

/** The resources that the server's process used between the two ends of the counted part. */
export interface ServerUse {
  readonly cpuUs: number;
  /** The thread that talks HTTP. */
  readonly mainThreadUs: number;
  /** Answers of whatever status that came back in the same time. */
  readonly answers: number;
}

export interface StreamResult {
  readonly name: string;
  readonly sent: number;
  /** Requests sent in the counted part, for each second of it. */
  readonly sentPerSecond: number;
  /** Answers by status; `0` counts connections that broke with a request under way. */
  readonly statuses: Readonly<Record<string, number>>;
  readonly answeredPerSecond: number;
  readonly okPerSecond: number;
  /** Of answers with status 2xx, in milliseconds. */
  readonly latencyMs: Quantiles;
  /** Of all other answers. */
  readonly refusalMs: Quantiles;
  /** Requests that were due and still unsent or unanswered at the end. */
  readonly unanswered: number;
  /** Given up, see LoadStream.givesUp. */
  readonly unsent: number;
  /** One for each rate, where there are several. */
  readonly phases?: readonly PartResult[];
  /** One for each window, where these were asked for. */
  readonly windows?: readonly PartResult[];
}

/** A piece of the counted part: what was due in it, and what was answered in it. */
export interface PartResult {
  /** From the start, warm-up included. */
  readonly fromMs: number;
  readonly toMs: number;
  readonly sent: number;
  readonly unsent: number;
  readonly statuses: Readonly<Record<string, number>>;
  readonly ok: number;
  /** Of answers with status 2xx. */
  readonly latencyMs: Quantiles;
}

export interface Quantiles {
  readonly p50: number;
  readonly p95: number;
  readonly p99: number;
  readonly p999: number;
  readonly max: number;
  readonly count: number;
}

import { readFileSync } from 'node:fs';
import { keptPlaces } from './descriptors.ts';

export interface ConnectionLimits {
  readonly total: number;
  /** Of one IPv4 address, or of one /64 of IPv6. */
  readonly perAddress: number;
}

export type ConnectionRefusal = 'too_many_connections' | 'too_many_of_address';

/** An address with no more than this may use the places that are kept: a health check. */
const fewConnections = 2;
/** At most so often, */
const recountMs = 100;
/** and for a fiftieth of the time of a thread that all share: with 8,000 lines a reading takes 50 ms. */
const recountShare = 50;

export interface ConnectionCountParts {
  readonly limits: ConnectionLimits;
  readonly nowMs: () => number;
  /** Open connections to these local ports by address, or undefined where that cannot be had. */
  readonly count: (ports: ReadonlySet<number>) => Map<string, number> | undefined;
}

/**
 * Open connections of all listeners, in all and by address. uWebSockets.js does not tell whose connection has ended, so what
 * is known of an address is an upper bound, and before it is held against somebody the kernel's table is read again.
 */
export class ConnectionCount {
  readonly #parts: ConnectionCountParts;
  #open = 0;
  #atMost = new Map<string, number>();
  readonly #ports = new Set<number>();
  #recountFromMs = Number.NEGATIVE_INFINITY;

  constructor(parts: ConnectionCountParts) {
    this.#parts = parts;
  }

  /** For the kernel's table. */
  listensOn(port: number): void {
    this.#ports.add(port);
  }

  /**
   * The reason to close the connection that has just opened, if there is one; `closed` is due for it all the same. An empty
   * address, as of a Unix socket, counts for the whole only.
   */
  opened(address: Uint8Array): ConnectionRefusal | undefined {
    const { limits } = this.#parts;
    this.#open++;
    if (address.length === 0) return this.#totalOnly();
    const key = addressKey(address);
    const count = (this.#atMost.get(key) ?? 0) + 1;
    this.#atMost.set(key, count);
    // Addresses that come and go leave their bounds behind; four tables' worth of them is a reason to read the table.
    if (this.#atMost.size > 4 * (limits.total + keptPlaces) && this.#mayRecount()) this.#recount();
    let refusal = this.#refusal(count);
    if (refusal !== undefined && this.#mayRecount()) {
      refusal = this.#recount() ? this.#refusal(this.#atMost.get(key) ?? 1) : this.#totalOnly();
    }
    // It is closed at once.
    if (refusal !== undefined) this.#atMost.set(key, Math.max(0, (this.#atMost.get(key) ?? 0) - 1));
    return refusal;
  }

  closed(): void {
    this.#open--;
    if (this.#open === 0) this.#atMost.clear();
  }

  #refusal(ofAddress: number): ConnectionRefusal | undefined {
    const { total, perAddress } = this.#parts.limits;
    const few = this.#open <= total + keptPlaces && ofAddress <= fewConnections;
    if (this.#open > total && !few) return 'too_many_connections';
    return Math.min(ofAddress, this.#open) > perAddress ? 'too_many_of_address' : undefined;
  }

  #totalOnly(): ConnectionRefusal | undefined {
    return this.#open <= this.#parts.limits.total ? undefined : 'too_many_connections';
  }

  #mayRecount(): boolean {
    return this.#parts.nowMs() >= this.#recountFromMs;
  }

  #recount(): boolean {
    const beganMs = this.#parts.nowMs();
    const counted = this.#parts.count(this.#ports);
    const endedMs = this.#parts.nowMs();
    this.#recountFromMs = endedMs + Math.max(recountMs, (endedMs - beganMs) * recountShare);
    const before = this.#atMost;
    this.#atMost = new Map();
    if (counted === undefined) return false;
    for (const [key, count] of counted) {
      // The table also has those that wait to be accepted.
      const known = Math.min(count, before.get(key) ?? 0);
      if (known > 0) this.#atMost.set(key, known);
    }
    return true;
  }
}

/** The count that all listeners of a process share. */
export function countConnections(limits: ConnectionLimits): ConnectionCount {
  return new ConnectionCount({ limits, nowMs: () => performance.now(), count: countByAddress });
}

/** Hexadecimal: four bytes of an IPv4 address, mapped into IPv6 or not, or the first eight of an IPv6 one. */
function addressKey(address: Uint8Array): string {
  return keyOfHex(Buffer.from(address).toString('hex'));
}

function keyOfHex(hex: string): string {
  if (hex.length !== 32) return hex;
  return hex.startsWith('00000000000000000000ffff') ? hex.slice(24) : hex.slice(0, 16);
}

/** Those of some local ports, from /proc/net/tcp and tcp6 (proc_net_tcp(5)): what holds a descriptor of ours. */
export function countByAddress(localPorts: ReadonlySet<number>): Map<string, number> | undefined {
  const ports = [...localPorts].map((port) => port.toString(16).toUpperCase().padStart(4, '0')).join('|');
  const counts = new Map<string, number>();
  const line = new RegExp(`: [0-9A-F]+:(?:${ports}) ([0-9A-F]+):[0-9A-F]{4} (?:01|08) `, 'g');
  try {
    for (const table of ['/proc/net/tcp', '/proc/net/tcp6']) {
      for (const [, words = ''] of readTable(table).matchAll(line)) {
        const key = keyOfHex(words.replace(/(..)(..)(..)(..)/g, '$4$3$2$1').toLowerCase());
        counts.set(key, (counts.get(key) ?? 0) + 1);
      }
    }
    return counts;
  } catch {
    return undefined;
  }
}

function readTable(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch (error) {
    // A machine without IPv6.
    if (path.endsWith('6') && (error as NodeJS.ErrnoException).code === 'ENOENT') return '';
    throw error;
  }
}

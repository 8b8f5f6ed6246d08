/**
 * Fair queueing by cost: deficit round robin (Shreedhar and Varghese, 1995) over tenants, in microseconds of work
 * instead of bytes. Pure and without a clock of its own, so that the same code runs in the simulator.
 * Every operation is O(1) amortised, however many tenants are known: only tenants with a call waiting take memory.
 */

/** A call that stands in the queue. The scheduler writes nothing into it. */
export interface Call {
  readonly tenant: string;
  /** Calls of one tenant take turns by class, so that a tenant's cheap calls do not wait behind its dear ones. */
  readonly callClass: CallClass;
  /** Estimated cost in microseconds of one worker. At least 1. */
  readonly costUs: number;
  /** On the monotonic clock; drawn later than this, or so that it would end later, the call has expired. */
  readonly deadlineAtMs: number;
  /**
   * Asked by the service itself, a few times a second: no bound keeps it out. The checkpoint of an audit log that has to
   * be signed while all queues are full is one, as without it no other call goes on.
   */
  readonly ownWork?: boolean;
}

export const callClasses = ['sign', 'verify', 'manage'] as const;
export type CallClass = (typeof callClasses)[number];

export interface SchedulerLimits {
  /**
   * Waiting calls of one tenant. Beside others, and when room gets scarce, it is fewer: no more than there are free
   * places (dynamic thresholds, Choudhury and Hahne, 1998), so that tenants who flood together leave room for others.
   */
  readonly perTenantCalls: number;
  /** Waiting work of one tenant, in microseconds of cost. */
  readonly perTenantCostUs: number;
  /** Waiting calls in all. */
  readonly totalCalls: number;
  /**
   * The cost that a tenant of weight 1 may use in one turn, in microseconds. Smaller is fairer, larger makes batches of one
   * tenant's calls; the unfairness between two tenants is bounded by about one quantum plus one call.
   */
  readonly quantumUs: number;
}

export type Offer = 'queued' | 'tenant_full' | 'tenant_cost_full' | 'total_full';

/** A place in the queue; hand it to `cancel`. */
export interface Ticket<C extends Call> {
  readonly call: C;
  queue: TenantQueue<C> | undefined;
  previous: Ticket<C> | undefined;
  next: Ticket<C> | undefined;
}

interface Fifo<C extends Call> {
  head: Ticket<C> | undefined;
  tail: Ticket<C> | undefined;
  /** Work served to this class since the tenant became active, in microseconds; the least served class is next. */
  servedUs: number;
}

interface TenantQueue<C extends Call> {
  readonly tenant: string;
  readonly weight: number;
  readonly fifos: Readonly<Record<CallClass, Fifo<C>>>;
  calls: number;
  costUs: number;
  deficitUs: number;
  /** True if it has had its quantum for the turn that it is in. */
  credited: boolean;
  /** True if a call of it was drawn since it came into the ring. */
  served: boolean;
  /** True until the turn is over that it has when it comes. */
  comes: boolean;
  /** Ring of tenants that have calls waiting, or had in this round. */
  before: TenantQueue<C>;
  after: TenantQueue<C>;
}

export interface DrawOptions {
  /** A call that would end after its deadline is expired too. */
  readonly whole?: boolean;
  /** Only tenants are drawn from that have the turn of those who come. */
  readonly comingOnly?: boolean;
}

export class FairScheduler<C extends Call> {
  readonly #limits: SchedulerLimits;
  readonly #weightOf: (tenant: string) => number;
  readonly #tenants = new Map<string, TenantQueue<C>>();
  /** The tenant whose turn it is; undefined when nothing waits. */
  #turn: TenantQueue<C> | undefined;
  /** The tenant whose turn goes on when all that came meanwhile have had their first. */
  #interrupted: TenantQueue<C> | undefined;
  /** Tenants that have calls waiting. */
  #active = 0;
  #calls = 0;
  #costUs = 0;
  #weight = 0;

  constructor(limits: SchedulerLimits, weightOf: (tenant: string) => number = () => 1) {
    this.#limits = limits;
    this.#weightOf = weightOf;
  }

  get waitingCalls(): number {
    return this.#calls;
  }

  get waitingCostUs(): number {
    return this.#costUs;
  }

  get activeTenants(): number {
    return this.#active;
  }

  /** The tenant whose calls are all that waits; undefined when none or several have calls waiting. */
  get onlyTenant(): string | undefined {
    if (this.#active !== 1) return undefined;
    this.#passEmpty();
    return this.#turn?.tenant;
  }

  /** True if the next call is of a tenant that has the turn of those who come. */
  get comes(): boolean {
    if (this.#calls > 0) this.#passEmpty();
    return this.#turn?.comes === true;
  }

  /** Sum of the weights of all tenants that have calls waiting. */
  get activeWeight(): number {
    return this.#weight;
  }

  /** Waiting calls and cost of one tenant. */
  tenantBacklog(tenant: string): { readonly calls: number; readonly costUs: number } {
    return this.#tenants.get(tenant) ?? nothingWaiting;
  }

  /**
   * The work that will be served before a call that this tenant offers now, in microseconds, at most: its own backlog
   * stretched by the share of the others, and never more than everything that waits.
   */
  workAheadUs(tenant: string): number {
    const queue = this.#tenants.get(tenant);
    const weight = queue?.weight ?? this.#weightOf(tenant);
    const waits = queue !== undefined && queue.calls > 0;
    const activeWeight = waits ? this.#weight : this.#weight + weight;
    const ownUs = (queue?.costUs ?? 0) + this.#limits.quantumUs * weight;
    return Math.min(this.#costUs, (ownUs * activeWeight) / weight);
  }

  /** The bound that keeps this tenant from another call now, cost aside. */
  fullFor(tenant: string): 'tenant_full' | 'total_full' | undefined {
    const { perTenantCalls, totalCalls } = this.#limits;
    const free = totalCalls - this.#calls;
    if (free <= 0) return 'total_full';
    // Fewer wait in all than one may hold: the way of nearly every call.
    if (this.#calls < Math.min(perTenantCalls, free)) return undefined;
    const { calls } = this.tenantBacklog(tenant);
    const most = calls === this.#calls ? perTenantCalls : Math.min(perTenantCalls, free);
    return calls < most ? undefined : 'tenant_full';
  }

  /** Takes a call in, or says which bound is reached. */
  offer(
    call: C,
  ):
    | { readonly outcome: 'queued'; readonly ticket: Ticket<C> }
    | { readonly outcome: Exclude<Offer, 'queued'> } {
    const bounded = call.ownWork !== true;
    const full = bounded ? this.fullFor(call.tenant) : undefined;
    if (full !== undefined) return { outcome: full };
    let queue = this.#tenants.get(call.tenant);
    if (queue !== undefined) {
      if (bounded && queue.calls > 0 && queue.costUs + call.costUs > this.#limits.perTenantCostUs)
        return { outcome: 'tenant_cost_full' };
      if (queue.calls === 0 && queue.deficitUs >= call.costUs) this.#comeAgain(queue);
    } else {
      queue = this.#activate(call.tenant);
    }
    const fifo = queue.fifos[call.callClass];
    // A class that was idle has no claim on the past: it starts level with the least served class that waits.
    if (fifo.tail === undefined)
      fifo.servedUs = Math.max(fifo.servedUs, leastServedUs(queue, call.callClass));
    const ticket: Ticket<C> = {
      call,
      queue: undefined,
      previous: undefined,
      next: undefined,
    };
    this.#append(queue, ticket);
    return { outcome: 'queued', ticket };
  }

  /** Takes a waiting call out, because its caller has gone. False when it no longer waits. */
  cancel(ticket: Ticket<C>): boolean {
    const queue = ticket.queue;
    if (queue === undefined) return false;
    this.#remove(queue, ticket);
    if (queue.calls === 0) this.#emptied(queue);
    return true;
  }

  /**
   * Draws what is due, in fair order: calls until `budgetUs` of cost is reached or `maxCalls` are drawn. At least one
   * call if any waits, even one that costs more than the budget. What would begin after its deadline goes to `expired`.
   */
  draw(
    budgetUs: number,
    maxCalls: number,
    beginsAtMs: number,
    due: Ticket<C>[],
    expired: Ticket<C>[],
    { whole = false, comingOnly = false }: DrawOptions = {},
  ): void {
    let spentUs = 0;
    let drawn = 0;
    let turnsInVain = 0;
    while (this.#calls > 0 && drawn < maxCalls) {
      this.#passEmpty();
      const queue = this.#turn as TenantQueue<C>;
      if (comingOnly && !queue.comes) return;
      if (!queue.credited) {
        queue.deficitUs += this.#limits.quantumUs * queue.weight;
        queue.credited = true;
      }
      const fifo = leastServed(queue);
      const ticket = fifo.head as Ticket<C>;
      const { call } = ticket;
      if (call.deadlineAtMs < beginsAtMs + (whole ? call.costUs / 1000 : 0)) {
        this.#remove(queue, ticket);
        expired.push(ticket);
        if (queue.calls === 0) this.#emptied(queue);
        turnsInVain = 0;
        continue;
      }
      if (call.costUs > queue.deficitUs) {
        this.#endTurn(queue);
        if (++turnsInVain >= this.#active) {
          this.#skipRounds();
          turnsInVain = 0;
        }
        continue;
      }
      if (drawn > 0 && spentUs + call.costUs > budgetUs) return;
      queue.deficitUs -= call.costUs;
      queue.served = true;
      fifo.servedUs += call.costUs;
      spentUs += call.costUs;
      drawn++;
      turnsInVain = 0;
      this.#remove(queue, ticket);
      due.push(ticket);
      if (queue.calls === 0) this.#emptied(queue);
    }
  }

  /**
   * After a round in which nobody could pay for its next call: hands out at once the quanta of all further such rounds.
   * The order of service stays the same, but a call of seconds among thousands of tenants does not hold the main thread
   * for as many rounds as its cost has quanta.
   */
  #skipRounds(): void {
    this.#passEmpty();
    const first = this.#turn as TenantQueue<C>;
    let rounds = Number.POSITIVE_INFINITY;
    let queue = first;
    do {
      if (queue.calls > 0) {
        const missingUs = (leastServed(queue).head as Ticket<C>).call.costUs - queue.deficitUs;
        rounds = Math.min(rounds, Math.ceil(missingUs / (this.#limits.quantumUs * queue.weight)));
      }
      queue = queue.after;
    } while (queue !== first);
    if (rounds <= 1) return;
    // The last of them is the next turn of each.
    do {
      if (queue.calls > 0) queue.deficitUs += (rounds - 1) * this.#limits.quantumUs * queue.weight;
      queue = queue.after;
    } while (queue !== first);
  }

  /**
   * A tenant that comes has its first turn at once, and its further ones at the end of the round: so a call now and then does
   * not wait for a turn of everybody (RFC 8290 calls such queues new, and does the same).
   */
  #activate(tenant: string): TenantQueue<C> {
    const queue = {
      tenant,
      weight: this.#weightOf(tenant),
      fifos: { sign: emptyFifo<C>(), verify: emptyFifo<C>(), manage: emptyFifo<C>() },
      calls: 0,
      costUs: 0,
      deficitUs: 0,
      credited: false,
      served: false,
      comes: true,
    } as unknown as { -readonly [K in keyof TenantQueue<C>]: TenantQueue<C>[K] };
    this.#tenants.set(tenant, queue);
    this.#place(queue);
    return queue;
  }

  /** Behind all that came before it and have not had that turn, and before all others. */
  #place(queue: TenantQueue<C>): void {
    const turn = this.#turn;
    if (turn === undefined) {
      queue.before = queue;
      queue.after = queue;
      this.#turn = queue;
      return;
    }
    const next = this.#interrupted ?? turn;
    queue.before = next.before;
    queue.after = next;
    next.before.after = queue;
    next.before = queue;
    if (this.#interrupted !== undefined || turn.comes) return;
    this.#interrupted = turn;
    this.#turn = queue;
  }

  /** It has some of its quantum left. */
  #comeAgain(queue: TenantQueue<C>): void {
    if (this.#turn !== queue) {
      this.#unlink(queue);
      this.#place(queue);
      queue.comes = true;
    }
    queue.credited = true;
  }

  #endTurn(queue: TenantQueue<C>): void {
    queue.credited = false;
    if (queue.comes) {
      queue.comes = false;
      this.#interrupted ??= queue;
    }
    this.#turn = queue.after;
    if (this.#turn === this.#interrupted) this.#interrupted = undefined;
  }

  /**
   * Nothing of it waits any more. The tenant keeps its place until its next turn, so that it does not come anew with each of its
   * calls, and what it has left of its quantum for calls until then. So in a round it has a quantum, in however many pieces,
   * and idling for longer earns no credit.
   */
  #emptied(queue: TenantQueue<C>): void {
    this.#active--;
    this.#weight -= queue.weight;
    queue.costUs = 0;
    if (this.#calls === 0) {
      this.#reset();
      return;
    }
    queue.deficitUs = Math.min(this.#limits.quantumUs * queue.weight, queue.deficitUs);
    if (!queue.served) this.#forget(queue);
    else if (this.#turn === queue) this.#endTurn(queue);
    else queue.credited = false;
  }

  /** Turns of tenants that have nothing waiting pass, and end their time in the ring. Something waits. */
  #passEmpty(): void {
    while (this.#turn?.calls === 0) this.#forget(this.#turn);
  }

  #forget(queue: TenantQueue<C>): void {
    if (this.#turn === queue) this.#endTurn(queue);
    this.#unlink(queue);
    this.#tenants.delete(queue.tenant);
  }

  /** It is not in its turn. */
  #unlink(queue: TenantQueue<C>): void {
    if (this.#interrupted === queue) {
      this.#interrupted = queue.after;
      if (this.#turn === this.#interrupted) this.#interrupted = undefined;
    }
    queue.before.after = queue.after;
    queue.after.before = queue.before;
  }

  /** Nothing waits, so there is no round. Sums of fractions: what rounding has left in them does not pile up over months. */
  #reset(): void {
    this.#tenants.clear();
    this.#turn = undefined;
    this.#interrupted = undefined;
    this.#weight = 0;
    this.#costUs = 0;
  }

  #append(queue: TenantQueue<C>, ticket: Ticket<C>): void {
    const { costUs, callClass } = ticket.call;
    const fifo = queue.fifos[callClass];
    ticket.queue = queue;
    ticket.previous = fifo.tail;
    if (fifo.tail === undefined) fifo.head = ticket;
    else fifo.tail.next = ticket;
    fifo.tail = ticket;
    if (queue.calls++ === 0) {
      this.#active++;
      this.#weight += queue.weight;
    }
    queue.costUs += costUs;
    this.#calls++;
    this.#costUs += costUs;
  }

  #remove(queue: TenantQueue<C>, ticket: Ticket<C>): void {
    const fifo = queue.fifos[ticket.call.callClass];
    if (ticket.previous === undefined) fifo.head = ticket.next;
    else ticket.previous.next = ticket.next;
    if (ticket.next === undefined) fifo.tail = ticket.previous;
    else ticket.next.previous = ticket.previous;
    ticket.queue = undefined;
    ticket.previous = undefined;
    ticket.next = undefined;
    queue.calls--;
    queue.costUs -= ticket.call.costUs;
    this.#calls--;
    this.#costUs -= ticket.call.costUs;
  }
}

const nothingWaiting = { calls: 0, costUs: 0 } as const;

function emptyFifo<C extends Call>(): Fifo<C> {
  return { head: undefined, tail: undefined, servedUs: 0 };
}

/** The class with calls waiting that has been served least. The queue has at least one call. */
function leastServed<C extends Call>(queue: TenantQueue<C>): Fifo<C> {
  let least: Fifo<C> | undefined;
  for (const callClass of callClasses) {
    const fifo = queue.fifos[callClass];
    if (fifo.head !== undefined && (least === undefined || fifo.servedUs < least.servedUs)) least = fifo;
  }
  return least as Fifo<C>;
}

function leastServedUs<C extends Call>(queue: TenantQueue<C>, except: CallClass): number {
  let leastUs = Number.POSITIVE_INFINITY;
  for (const callClass of callClasses) {
    const fifo = queue.fifos[callClass];
    if (callClass !== except && fifo.head !== undefined) leastUs = Math.min(leastUs, fifo.servedUs);
  }
  return leastUs === Number.POSITIVE_INFINITY ? 0 : leastUs;
}

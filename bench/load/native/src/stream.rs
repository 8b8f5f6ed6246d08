use std::collections::BTreeMap;
use std::net::IpAddr;

use hdrhistogram::Histogram;

use crate::arrivals::Arrivals;
use crate::clock::{NS_PER_MS, now_ns};
use crate::connection::{Connection, Received, Server};
use crate::parts::Parts;
use crate::plan::{LoadStream, Quantiles, StreamResult};
use crate::poll::{Poll, Ready, Token};

pub const LONGEST_US: u64 = 60_000_000;
/// Before the callers of a closed loop try a server again that does not take them: refusals of the kernel cost so
/// little that they would otherwise fill a core.
const REST_NS: u64 = NS_PER_MS;

enum Pace {
    /// Each connection sends as soon as it has its answer, those that could not be opened after a rest.
    Closed { resume_ns: u64 },
    /// The times at which requests are due, whether or not earlier ones were answered.
    Open(Arrivals),
}

/// One kind of caller. Where more is due than connections can carry, requests wait for one, in order, and are timed
/// from when they were due all the same: nothing needs to be kept for that but the moment of the first that waits.
pub struct Stream {
    name: String,
    server: Server,
    wires: Vec<Box<[u8]>>,
    connections: Vec<Connection>,
    idle: Vec<usize>,
    pace: Pace,
    next: usize,
    latency_us: Histogram<u64>,
    refusals_us: Histogram<u64>,
    statuses: BTreeMap<u16, u64>,
    sent: u64,
    sent_before: u64,
    answered: u64,
    succeeded: u64,
    count_from_ns: u64,
    /// True: a request that is due while no connection is free is never sent.
    gives_up: bool,
    unsent: u64,
    phases: Parts,
    windows: Parts,
    /// Since the start, of whatever status.
    pub answers: u64,
}

/// 1 us to 60 s at three digits.
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST_US, 3).expect("these bounds are good ones")
}

impl Stream {
    /// `host`: as its requests name the server.
    pub fn new(index: u32, stream: LoadStream, server: Server, host: (IpAddr, u16)) -> Self {
        let LoadStream { name, connections, rate_per_second, later_rates, gives_up, window_ms, requests } = stream;
        let pace = if rate_per_second > 0.0 {
            Pace::Open(Arrivals::new(&name, rate_per_second, &later_rates))
        } else {
            Pace::Closed { resume_ns: 0 }
        };
        let token = |connection| Token { stream: index, connection: connection as u32 };
        Self {
            name,
            server,
            wires: requests.iter().map(|request| request.wire(host.0, host.1)).collect(),
            connections: (0..connections).map(|number| Connection::new(token(number))).collect(),
            idle: (0..connections).collect(),
            pace,
            next: 0,
            latency_us: histogram(),
            refusals_us: histogram(),
            statuses: BTreeMap::new(),
            sent: 0,
            sent_before: 0,
            answered: 0,
            succeeded: 0,
            count_from_ns: 0,
            gives_up,
            unsent: 0,
            phases: Parts::at(later_rates.iter().map(|phase| phase.from_ms).collect()),
            windows: Parts::each(window_ms),
            answers: 0,
        }
    }

    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// One that cannot be opened is tried again with its first request.
    pub fn open(&mut self, poll: &Poll, connection: usize) {
        let _ = self.connections[connection].open(poll, &self.server);
    }

    pub fn start(&mut self, start_ns: u64, count_from_ns: u64) {
        self.count_from_ns = count_from_ns;
        self.phases.start(start_ns, count_from_ns);
        self.windows.start(start_ns, count_from_ns);
        if let Pace::Open(arrivals) = &mut self.pace {
            arrivals.start(start_ns);
        }
    }

    /// The counted part begins.
    pub fn count(&mut self) {
        self.sent_before = self.sent;
    }

    /// The time at which `send_due` has something to do, as far as the clock tells.
    pub fn next_send_ns(&self) -> u64 {
        match &self.pace {
            _ if self.idle.is_empty() && !self.gives_up => u64::MAX,
            Pace::Closed { resume_ns } => *resume_ns,
            Pace::Open(arrivals) => arrivals.next_ns(),
        }
    }

    pub fn send_due(&mut self, poll: &Poll, at_ns: u64) {
        while self.next_send_ns() <= at_ns {
            let Some(connection) = self.idle.pop() else {
                if let Pace::Open(arrivals) = &mut self.pace {
                    self.phases.unsent(arrivals.next_ns());
                    self.windows.unsent(arrivals.next_ns());
                    arrivals.advance();
                    self.unsent += 1;
                }
                continue;
            };
            let mut due_ns = at_ns;
            if let Pace::Open(arrivals) = &mut self.pace {
                due_ns = arrivals.next_ns();
                arrivals.advance();
            }
            self.send(poll, connection, due_ns);
        }
    }

    pub fn handle(&mut self, poll: &Poll, ready: &Ready, buffer: &mut [u8]) {
        let index = ready.token.connection as usize;
        let connection = &mut self.connections[index];
        if ready.writable
            && connection.busy
            && connection.write(poll, &self.wires[connection.request]).is_err()
        {
            self.lost(index);
            return;
        }
        if !ready.readable {
            return;
        }
        match connection.receive(buffer) {
            Received::Nothing => {}
            Received::Broken => self.lost(index),
            Received::Answer(status) => {
                let at_ns = self.record(index, status);
                match self.pace {
                    Pace::Closed { .. } => self.send(poll, index, at_ns),
                    Pace::Open(_) => self.idle.push(index),
                }
            }
        }
    }

    pub fn result(mut self, end_ns: u64) -> StreamResult {
        let counted_s = (end_ns - self.count_from_ns) as f64 / 1e9;
        let per_second = |count: u64| count as f64 / counted_s;
        let waiting = match &mut self.pace {
            Pace::Closed { .. } => 0,
            Pace::Open(arrivals) => arrivals.count_until(end_ns),
        };
        let busy = self.connections.iter().filter(|connection| connection.busy).count() as u64;
        StreamResult {
            sent: self.sent,
            sent_per_second: per_second(self.sent - self.sent_before),
            answered_per_second: per_second(self.answered),
            ok_per_second: per_second(self.succeeded),
            latency_ms: quantiles(&self.latency_us),
            refusal_ms: quantiles(&self.refusals_us),
            unanswered: busy + waiting,
            unsent: self.unsent,
            phases: self.phases.results(end_ns),
            windows: self.windows.results(end_ns),
            name: self.name,
            statuses: self.statuses,
        }
    }

    fn send(&mut self, poll: &Poll, index: usize, due_ns: u64) {
        self.sent += 1;
        self.phases.sent(due_ns);
        self.windows.sent(due_ns);
        let connection = &mut self.connections[index];
        connection.request = self.next;
        connection.due_ns = due_ns;
        self.next = (self.next + 1) % self.wires.len();
        if connection.send(poll, &self.server, &self.wires[connection.request]).is_err() {
            self.lost(index);
        }
    }

    /// The server closed it, or never took it. Opened again with its next request.
    fn lost(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        let was_of_use = connection.has_answered;
        connection.close();
        if !connection.busy {
            return;
        }
        connection.busy = false;
        let at_ns = self.record(index, 0);
        self.idle.push(index);
        if let Pace::Closed { resume_ns } = &mut self.pace
            && !was_of_use
        {
            *resume_ns = at_ns + REST_NS;
        }
    }

    /// By the time of the answer: where more is due than connections can carry, the wait for one counts as well.
    fn record(&mut self, index: usize, status: u16) -> u64 {
        let at_ns = now_ns();
        self.answers += 1;
        if at_ns >= self.count_from_ns {
            let took_us = (at_ns.saturating_sub(self.connections[index].due_ns) + 500) / 1_000;
            let succeeded = (200..300).contains(&status);
            let histogram = if succeeded { &mut self.latency_us } else { &mut self.refusals_us };
            histogram.saturating_record(took_us.clamp(1, LONGEST_US));
            self.answered += 1;
            self.succeeded += u64::from(succeeded);
            self.phases.answered(at_ns, status, took_us);
            self.windows.answered(at_ns, status, took_us);
            *self.statuses.entry(status).or_default() += 1;
        }
        at_ns
    }
}

pub fn quantiles(values_us: &Histogram<u64>) -> Quantiles {
    let at = |quantile| values_us.value_at_quantile(quantile) as f64 / 1_000.0;
    Quantiles {
        p50: at(0.5),
        p95: at(0.95),
        p99: at(0.99),
        p999: at(0.999),
        max: values_us.max() as f64 / 1_000.0,
        count: values_us.len(),
    }
}

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

use crate::clock::NS_PER_MS;
use crate::plan::PartResult;
use crate::stream::{LONGEST_US, quantiles};

/// The counted part of a run, cut into pieces: what was due and what was answered in each.
pub struct Parts {
    /// From the start: where the second piece begins, and so on.
    borders_ms: Vec<u64>,
    /// Of pieces of one length instead, from the beginning of the counted part; 0: none.
    each_ms: u64,
    start_ns: u64,
    count_from_ns: u64,
    parts: Vec<Part>,
}

struct Part {
    sent: u64,
    unsent: u64,
    ok: u64,
    statuses: BTreeMap<u16, u64>,
    latency_us: Histogram<u64>,
}

impl Parts {
    pub fn at(borders_ms: Vec<u64>) -> Self {
        Self { borders_ms, each_ms: 0, start_ns: 0, count_from_ns: 0, parts: Vec::new() }
    }

    pub fn each(each_ms: u64) -> Self {
        Self { borders_ms: Vec::new(), each_ms, start_ns: 0, count_from_ns: 0, parts: Vec::new() }
    }

    pub fn start(&mut self, start_ns: u64, count_from_ns: u64) {
        self.start_ns = start_ns;
        self.count_from_ns = count_from_ns;
    }

    pub fn sent(&mut self, due_ns: u64) {
        if let Some(part) = self.part(due_ns) {
            part.sent += 1;
        }
    }

    pub fn unsent(&mut self, due_ns: u64) {
        if let Some(part) = self.part(due_ns) {
            part.unsent += 1;
        }
    }

    pub fn answered(&mut self, at_ns: u64, status: u16, took_us: u64) {
        let Some(part) = self.part(at_ns) else { return };
        *part.statuses.entry(status).or_default() += 1;
        if (200..300).contains(&status) {
            part.ok += 1;
            part.latency_us.saturating_record(took_us.clamp(1, LONGEST_US));
        }
    }

    pub fn results(self, end_ns: u64) -> Vec<PartResult> {
        let count = self.parts.len();
        let end_ms = (end_ns - self.start_ns) as f64 / NS_PER_MS as f64;
        let first_ms = (self.count_from_ns - self.start_ns) as f64 / NS_PER_MS as f64;
        let border = |index: usize| match index {
            0 => first_ms,
            _ if index == count => end_ms,
            _ if self.each_ms > 0 => first_ms + (index as u64 * self.each_ms) as f64,
            _ => self.borders_ms[index - 1] as f64,
        };
        let borders: Vec<f64> = (0..=count).map(border).collect();
        (0..).zip(self.parts)
            .map(|(index, part): (usize, Part)| PartResult {
                from_ms: borders[index],
                to_ms: borders[index + 1],
                sent: part.sent,
                unsent: part.unsent,
                statuses: part.statuses,
                ok: part.ok,
                latency_ms: quantiles(&part.latency_us),
            })
            .collect()
    }

    /// None before the counted part, or where nothing is to be cut.
    fn part(&mut self, at_ns: u64) -> Option<&mut Part> {
        if at_ns < self.count_from_ns || (self.each_ms == 0 && self.borders_ms.is_empty()) {
            return None;
        }
        let index = if self.each_ms > 0 {
            ((at_ns - self.count_from_ns) / (self.each_ms * NS_PER_MS)) as usize
        } else {
            let at_ms = (at_ns - self.start_ns) / NS_PER_MS;
            self.borders_ms.iter().filter(|border_ms| **border_ms <= at_ms).count()
        };
        while self.parts.len() <= index {
            self.parts.push(Part {
                sent: 0,
                unsent: 0,
                ok: 0,
                statuses: BTreeMap::new(),
                latency_us: coarse_histogram(),
            });
        }
        self.parts.get_mut(index)
    }
}

/// Two digits, as there are hundreds of them.
fn coarse_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST_US, 2).expect("these bounds are good ones")
}

use crate::clock::{NS_PER_MS, NS_PER_S};
use crate::plan::LoadPhase;

/// The moments at which the requests of an open loop are due: a Poisson process, that is independent arrivals with
/// exponential gaps, which is what many callers who do not know of each other look like to a server. Some come close
/// together and wait for each other, as in life; evenly spaced ones would never do. The seed is fixed for each stream, so
/// that what is compared meets the same arrivals, and different for each name, so that two generators side by side do not
/// move in step.
pub struct Arrivals {
    random: SplitMix64,
    mean_gap_ns: f64,
    /// Later rates, the next one last.
    then: Vec<LoadPhase>,
    /// From the start.
    next_ns: f64,
    start_ns: u64,
}

impl Arrivals {
    pub fn new(stream: &str, rate_per_second: f64, then: &[LoadPhase]) -> Self {
        let mut arrivals = Self {
            random: SplitMix64(fnv1a(stream.as_bytes())),
            mean_gap_ns: NS_PER_S as f64 / rate_per_second,
            then: then.iter().rev().copied().collect(),
            next_ns: 0.0,
            start_ns: 0,
        };
        arrivals.advance();
        arrivals
    }

    pub fn start(&mut self, start_ns: u64) {
        self.start_ns = start_ns;
    }

    pub fn next_ns(&self) -> u64 {
        self.start_ns + self.next_ns as u64
    }

    pub fn advance(&mut self) {
        // 1 - u, because u may be 0, whose logarithm is infinite.
        self.next_ns -= (1.0 - self.random.uniform()).ln() * self.mean_gap_ns;
        // The process has no memory: where the rate changes within the gap, another begins there.
        while let Some(phase) = self.then.last() {
            let from_ns = (phase.from_ms * NS_PER_MS) as f64;
            if self.next_ns < from_ns {
                return;
            }
            self.mean_gap_ns = NS_PER_S as f64 / phase.rate_per_second;
            self.next_ns = from_ns - (1.0 - self.random.uniform()).ln() * self.mean_gap_ns;
            self.then.pop();
        }
    }

    /// The number of requests that are due up to then, and have not been taken.
    pub fn count_until(&mut self, end_ns: u64) -> u64 {
        let mut count = 0;
        while self.next_ns() <= end_ns {
            self.advance();
            count += 1;
        }
        count
    }
}

/// Steele, Lea, Flood: Fast splittable pseudorandom number generators (OOPSLA 2014). Not for secrets.
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In [0, 1), with the 53 bits that a double holds.
    fn uniform(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// FNV-1a, 64 bits: an unlike seed for each name.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_are_due_as_the_rate_says_and_gaps_vary_as_those_of_a_poisson_process() {
        let mut arrivals = Arrivals::new("any", 10_000.0, &[]);
        let count = 100_000;
        let (mut before, mut squares) = (arrivals.next_ns, 0.0);
        for _ in 0..count {
            arrivals.advance();
            let gap = (arrivals.next_ns - before) / arrivals.mean_gap_ns;
            squares += (gap - 1.0) * (gap - 1.0);
            before = arrivals.next_ns;
        }
        // Both within five standard deviations of what is expected.
        assert!((arrivals.next_ns / 1e5 / f64::from(count) - 1.0).abs() < 0.016);
        assert!((squares / f64::from(count) - 1.0).abs() < 0.05);
    }

    #[test]
    fn a_stream_has_the_same_arrivals_in_each_run_and_others_than_its_neighbour() {
        let of = |name: &str| {
            let mut arrivals = Arrivals::new(name, 100.0, &[]);
            arrivals.start(7);
            (0..20).map(|_| (arrivals.next_ns(), arrivals.advance()).0).collect::<Vec<_>>()
        };
        assert_eq!(of("victim"), of("victim"));
        assert_ne!(of("victim"), of("aggressor"));
        assert!(of("victim").is_sorted());
    }

    #[test]
    fn a_rate_changes_when_it_is_to_change() {
        let phase = |from_ms, rate_per_second| LoadPhase { from_ms, rate_per_second };
        let mut arrivals = Arrivals::new("any", 1_000.0, &[phase(1_000, 10_000.0), phase(2_000, 500.0)]);
        assert!((800..1_200).contains(&arrivals.count_until(NS_PER_S)));
        assert!((9_500..10_500).contains(&arrivals.count_until(2 * NS_PER_S)));
        assert!((350..650).contains(&arrivals.count_until(3 * NS_PER_S)));
    }

    #[test]
    fn what_is_due_and_not_taken_is_counted_once() {
        let mut arrivals = Arrivals::new("any", 1_000.0, &[]);
        let due = arrivals.count_until(NS_PER_S);
        assert!((800..1_200).contains(&due));
        assert_eq!(arrivals.count_until(NS_PER_S), 0);
    }
}

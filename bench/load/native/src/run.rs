use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::thread::sleep;
use std::time::Duration;

use rustix::net::SocketAddrUnix;
use rustix::process::setpriority_process;

use crate::clock::{NS_PER_MS, now_ns, own_cpu_ns};
use crate::connection::Server;
use crate::plan::{LoadPlan, LoadResult, ServerUse, Via};
use crate::poll::Poll;
use crate::process::{ProcessCpu, read_cpu};
use crate::stream::Stream;

/// The most bytes of one read; an answer with 256 ML-DSA-65 signatures is a megabyte, one signature 5 kB.
const READ_BYTES: usize = 64 * 1024;

/// A server's backlog of connections (512 in most) is to hold what it has no time to accept: this many, then a rest.
const OPENED_AT_ONCE: usize = 64;
const OPENING_REST: Duration = Duration::from_millis(4);

struct Generator {
    poll: Poll,
    streams: Vec<Stream>,
    buffer: Box<[u8]>,
}

impl Generator {
    fn open(&mut self) {
        let mut opened = 0;
        for stream in &mut self.streams {
            for connection in 0..stream.connections() {
                stream.open(&self.poll, connection);
                opened += 1;
                if opened % OPENED_AT_ONCE == 0 {
                    sleep(OPENING_REST);
                }
            }
        }
    }

    fn send_due(&mut self) -> u64 {
        let at_ns = now_ns();
        for stream in &mut self.streams {
            stream.send_due(&self.poll, at_ns);
        }
        at_ns
    }

    fn work_until(&mut self, end_ns: u64) -> io::Result<()> {
        while self.send_due() < end_ns {
            let wake_ns = self.streams.iter().map(Stream::next_send_ns).fold(end_ns, u64::min);
            for index in 0..self.poll.wait(wake_ns)? {
                let Some(ready) = self.poll.ready(index) else { continue };
                self.streams[ready.token.stream as usize].handle(&self.poll, &ready, &mut self.buffer);
                self.send_due();
            }
        }
        Ok(())
    }

    fn read(&self, server_pid: Option<u32>) -> io::Result<Reading> {
        Ok(Reading {
            at_ns: now_ns(),
            server: server_pid.map(read_cpu).transpose()?,
            answers: self.streams.iter().map(|stream| stream.answers).sum(),
            own_cpu_ns: own_cpu_ns(),
        })
    }
}

/// Everything that has one value at each end of the counted part.
struct Reading {
    at_ns: u64,
    server: Option<ProcessCpu>,
    answers: u64,
    own_cpu_ns: u64,
}

fn refuse_unfit(plan: &LoadPlan) -> Result<(), Box<dyn Error>> {
    if !plan.host.is_loopback() {
        return Err("only servers on the loopback interface are loaded".into());
    }
    for stream in &plan.streams {
        if stream.requests.is_empty() {
            return Err(format!("the stream {} has no requests", stream.name).into());
        }
    }
    Ok(())
}

pub fn run(plan: LoadPlan) -> Result<LoadResult, Box<dyn Error>> {
    refuse_unfit(&plan)?;
    if let Some(niceness) = plan.niceness {
        setpriority_process(None, niceness)?;
    }
    let host = (plan.host, plan.port);
    let server = match &plan.via {
        Some(Via { path }) => Server::Unix(SocketAddrUnix::new(path.as_path())?),
        None => Server::Tcp(SocketAddr::from(host)),
    };
    let streams = (0..)
        .zip(plan.streams)
        .map(|(index, stream)| Stream::new(index, stream, server.clone(), host))
        .collect();
    let mut generator =
        Generator { poll: Poll::new()?, streams, buffer: vec![0; READ_BYTES].into_boxed_slice() };
    generator.open();

    let start_ns = now_ns();
    let count_from_ns = start_ns + plan.warm_up_ms * NS_PER_MS;
    for stream in &mut generator.streams {
        stream.start(start_ns, count_from_ns);
    }
    generator.work_until(count_from_ns)?;
    let before = generator.read(plan.server_pid)?;
    for stream in &mut generator.streams {
        stream.count();
    }
    generator.work_until(count_from_ns + plan.duration_ms * NS_PER_MS)?;
    let after = generator.read(plan.server_pid)?;

    let elapsed_ns = after.at_ns - count_from_ns;
    let own_cpu_ns = after.own_cpu_ns - before.own_cpu_ns;
    Ok(LoadResult {
        elapsed_ms: elapsed_ns as f64 / 1e6,
        generator_cpu_share: own_cpu_ns as f64 / (after.at_ns - before.at_ns) as f64,
        server: before.server.zip(after.server).map(|(before_cpu, after_cpu)| ServerUse {
            cpu_us: after_cpu.all_us - before_cpu.all_us,
            main_thread_us: after_cpu.main_thread_us - before_cpu.main_thread_us,
            answers: after.answers - before.answers,
        }),
        streams: generator.streams.into_iter().map(|stream| stream.result(after.at_ns)).collect(),
    })
}

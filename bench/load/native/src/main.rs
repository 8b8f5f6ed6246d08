//! The load generator: the same LoadPlan in and the same LoadResult out as bench/load/generator.ts. One thread, which
//! sleeps in epoll until an answer comes or a request is due: on a machine that it shares with the server, what it
//! does not take of the processor the server has. Loopback only; ends by itself.

mod answer;
mod arrivals;
mod clock;
mod connection;
mod parts;
mod plan;
mod poll;
mod process;
mod run;
mod stream;

use std::error::Error;
use std::io;
use std::process::ExitCode;

fn generate() -> Result<(), Box<dyn Error>> {
    let plan = serde_json::from_str(&io::read_to_string(io::stdin())?)?;
    let result = run::run(plan)?;
    Ok(serde_json::to_writer(io::stdout(), &result)?)
}

fn main() -> ExitCode {
    match generate() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("load generator: {error}");
            ExitCode::FAILURE
        }
    }
}

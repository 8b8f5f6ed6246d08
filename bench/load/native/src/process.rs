use std::fs;
use std::io;

/// Processor time of a process so far, in microseconds (Linux: schedstat counts nanoseconds).
#[derive(Clone, Copy)]
pub struct ProcessCpu {
    pub all_us: f64,
    /// Of the thread that the process began with, which talks HTTP.
    pub main_thread_us: f64,
}

/// Fails when the process is gone.
pub fn read_cpu(pid: u32) -> io::Result<ProcessCpu> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task"))
        .map_err(|error| io::Error::new(error.kind(), format!("the server, process {pid}, is not there")))?;
    let mut cpu = ProcessCpu { all_us: 0.0, main_thread_us: 0.0 };
    for task in tasks {
        let task = task?;
        // A thread may have ended between the listing and now.
        let Ok(stat) = fs::read_to_string(task.path().join("schedstat")) else { continue };
        let us = stat.split(' ').next().and_then(|ns| ns.parse::<f64>().ok()).unwrap_or(0.0) / 1_000.0;
        cpu.all_us += us;
        if task.file_name().to_str() == Some(&pid.to_string()) {
            cpu.main_thread_us = us;
        }
    }
    Ok(cpu)
}

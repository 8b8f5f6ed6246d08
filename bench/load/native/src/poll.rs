use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

use crate::clock::NS_PER_S;

/// A connection's number, and its stream's.
#[derive(Clone, Copy)]
pub struct Token {
    pub stream: u32,
    pub connection: u32,
}

pub struct Ready {
    pub token: Token,
    /// True if something besides room to write is there: bytes, the end, an error.
    pub readable: bool,
    pub writable: bool,
}

/// Handled between two looks at what epoll has; requests that fall due meanwhile are sent after each of them.
const EVENTS: usize = 64;
const TIMER: u64 = u64::MAX;

/// epoll, and a timer of nanoseconds in it: the timeout of epoll_wait(2) is blunter (milliseconds, and the slack of
/// PR_SET_TIMERSLACK on top, 50 us), a timerfd has no slack.
pub struct Poll {
    epoll: OwnedFd,
    timer: OwnedFd,
    armed_for_ns: u64,
    events: [Event; EVENTS],
}

impl Poll {
    pub fn new() -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let timer =
            timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        epoll::add(&epoll, &timer, EventData::new_u64(TIMER), EventFlags::IN)?;
        let nothing = Event { flags: EventFlags::empty(), data: EventData::new_u64(TIMER) };
        Ok(Self { epoll, timer, armed_for_ns: 0, events: [nothing; EVENTS] })
    }

    pub fn add(&self, socket: &impl AsFd, token: Token, writable: bool) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, socket, data_of(token), interest(writable))?)
    }

    pub fn change(&self, socket: &impl AsFd, token: Token, writable: bool) -> io::Result<()> {
        Ok(epoll::modify(&self.epoll, socket, data_of(token), interest(writable))?)
    }

    /// Sleeps until a connection has something or that moment has come; how many `ready` has to tell of.
    pub fn wait(&mut self, wake_ns: u64) -> io::Result<usize> {
        // Setting it also takes back that it has run out, so nobody needs to read it.
        if wake_ns != self.armed_for_ns {
            let it_value =
                Timespec { tv_sec: (wake_ns / NS_PER_S) as i64, tv_nsec: (wake_ns % NS_PER_S) as _ };
            let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value };
            timerfd_settime(&self.timer, TimerfdTimerFlags::ABSTIME, &once)?;
            self.armed_for_ns = wake_ns;
        }
        match epoll::wait(&self.epoll, &mut self.events[..], None) {
            Ok(count) => Ok(count),
            Err(Errno::INTR) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    /// None: the timer.
    pub fn ready(&self, index: usize) -> Option<Ready> {
        let Event { flags, data } = self.events[index];
        let data = data.u64();
        (data != TIMER).then(|| Ready {
            token: Token { stream: (data >> 32) as u32, connection: data as u32 },
            readable: flags != EventFlags::OUT,
            writable: flags.contains(EventFlags::OUT),
        })
    }
}

fn data_of(Token { stream, connection }: Token) -> EventData {
    EventData::new_u64(u64::from(stream) << 32 | u64::from(connection))
}

fn interest(writable: bool) -> EventFlags {
    if writable { EventFlags::IN | EventFlags::OUT } else { EventFlags::IN }
}

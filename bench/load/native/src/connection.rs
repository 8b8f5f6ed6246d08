use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use rustix::io::{Errno, read, write};
use rustix::net::sockopt::set_tcp_nodelay;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

use crate::answer::{AnswerReader, Progress};
use crate::poll::{Poll, Token};

/// The server, which is on this machine.
#[derive(Clone)]
pub enum Server {
    Tcp(SocketAddr),
    Unix(SocketAddrUnix),
}

impl Server {
    /// A socket of it, which may still be on its way there.
    fn dial(&self) -> io::Result<OwnedFd> {
        let family = match self {
            Self::Tcp(SocketAddr::V4(_)) => AddressFamily::INET,
            Self::Tcp(SocketAddr::V6(_)) => AddressFamily::INET6,
            Self::Unix(_) => AddressFamily::UNIX,
        };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = socket_with(family, SocketType::STREAM, flags, None)?;
        let connected = match self {
            Self::Tcp(at) => connect(&socket, at),
            Self::Unix(at) => connect(&socket, at),
        };
        match connected {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(error) => return Err(error.into()),
        }
        if let Self::Tcp(_) = self {
            set_tcp_nodelay(&socket, true)?;
        }
        Ok(socket)
    }
}

/// One keep-alive connection with at most one request under way, opened when it is needed.
pub struct Connection {
    token: Token,
    /// Also while it is being opened: reading and writing then say WouldBlock, or why it failed.
    socket: Option<OwnedFd>,
    answer: AnswerReader,
    written: usize,
    waits_to_write: bool,
    /// Since it was opened.
    pub has_answered: bool,
    pub busy: bool,
    /// Of the request that is under way: its place among those of the stream.
    pub request: usize,
    pub due_ns: u64,
}

pub enum Received {
    Nothing,
    Answer(u16),
    Broken,
}

impl Connection {
    pub fn new(token: Token) -> Self {
        Self {
            token,
            socket: None,
            answer: AnswerReader::default(),
            written: 0,
            waits_to_write: false,
            has_answered: false,
            busy: false,
            request: 0,
            due_ns: 0,
        }
    }

    /// Begins to open it. That it failed may show here or at the first request.
    pub fn open(&mut self, poll: &Poll, to: &Server) -> io::Result<()> {
        let socket = to.dial()?;
        poll.add(&socket, self.token, false)?;
        self.socket = Some(socket);
        Ok(())
    }

    pub fn close(&mut self) {
        self.socket = None;
        self.answer.clear();
        self.waits_to_write = false;
        self.has_answered = false;
    }

    pub fn send(&mut self, poll: &Poll, to: &Server, wire: &[u8]) -> io::Result<()> {
        self.busy = true;
        self.written = 0;
        if self.socket.is_none() {
            self.open(poll, to)?;
        }
        self.write(poll, wire)
    }

    /// Goes on with the request that is under way, as far as the socket takes it.
    pub fn write(&mut self, poll: &Poll, wire: &[u8]) -> io::Result<()> {
        let Some(socket) = &mut self.socket else { return Ok(()) };
        while self.written < wire.len() {
            match write(&socket, &wire[self.written..]) {
                Ok(count) => self.written += count,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(error) => return Err(error.into()),
            }
        }
        let waits = self.written < wire.len();
        if waits != self.waits_to_write {
            poll.change(socket, self.token, waits)?;
            self.waits_to_write = waits;
        }
        Ok(())
    }

    /// One read: epoll tells again when there is more.
    pub fn receive(&mut self, buffer: &mut [u8]) -> Received {
        let Some(socket) = &mut self.socket else { return Received::Nothing };
        let count = match read(&socket, &mut *buffer) {
            Ok(count) => count,
            Err(Errno::AGAIN | Errno::INTR) => return Received::Nothing,
            Err(_) => return Received::Broken,
        };
        if count == 0 || !self.busy {
            return Received::Broken;
        }
        match self.answer.read(&buffer[..count]) {
            Progress::Incomplete => Received::Nothing,
            Progress::Malformed => Received::Broken,
            Progress::Complete { status, excess } => {
                self.has_answered = true;
                self.busy = false;
                // The rest of this connection's bytes cannot be told apart, or the server did not want the
                // whole request.
                if excess || self.waits_to_write {
                    self.close();
                }
                Received::Answer(status)
            }
        }
    }
}

//! Root keys: from a file or a descriptor, into a new file, filled in by the caller, or in memory only. Known to JavaScript
//! by a number.

use crate::arena::Slot;
use crate::failure::Failure;
use crate::seal::KEY_BYTES;
use crate::{drbg, keys, lent};
use napi::bindgen_prelude::Unknown;
use std::ffi::{CStr, CString};
use std::io::{Error, ErrorKind};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

/// A process has one root key, and for a while two when it is changed; sixty-four is a leak.
const MAX_ROOTS: usize = 64;

struct Root {
    number: u32,
    /// Seals, and opens first.
    key: Arc<Slot>,
    /// Opens what the first does not: the key before, while everything is sealed anew.
    before: Option<Arc<Slot>>,
}

struct Roots {
    keys: Vec<Root>,
    last_number: u32,
}

static ROOTS: RwLock<Roots> = RwLock::new(Roots { keys: Vec::new(), last_number: 0 });

pub fn get(number: u32) -> Option<Arc<Slot>> {
    opening(number).map(|(key, _)| key)
}

/// The key that opens, and the one before it where there are two.
pub fn opening(number: u32) -> Option<(Arc<Slot>, Option<Arc<Slot>>)> {
    let roots = ROOTS.read().unwrap_or_else(PoisonError::into_inner);
    let found = roots.keys.iter().find(|root| root.number == number)?;
    Some((found.key.clone(), found.before.clone()))
}

/// Seals under `current`, opens under either. Both numbers stay as they are.
pub fn join(current: u32, before: u32) -> Result<u32, Failure> {
    let of = |number| get(number).ok_or_else(|| Failure::argument("no such root"));
    let (key, before) = (of(current)?, of(before)?);
    add_root(key, Some(before))
}

/// The bytes are wiped when no other number and no call under way has them.
pub fn close(number: u32) -> bool {
    let mut roots = ROOTS.write().unwrap_or_else(PoisonError::into_inner);
    let known = roots.keys.len();
    roots.keys.retain(|root| root.number != number);
    roots.keys.len() < known
}

pub fn forget_all() {
    ROOTS.write().unwrap_or_else(PoisonError::into_inner).keys.clear();
}

fn add(key: Slot) -> Result<u32, Failure> {
    add_root(Arc::new(key), None)
}

fn add_root(key: Arc<Slot>, before: Option<Arc<Slot>>) -> Result<u32, Failure> {
    let mut roots = ROOTS.write().unwrap_or_else(PoisonError::into_inner);
    if roots.keys.len() >= MAX_ROOTS {
        return Err(Failure::new("TOO_MANY_ROOTS", "too many root keys are loaded"));
    }
    roots.last_number += 1;
    let number = roots.last_number;
    roots.keys.push(Root { number, key, before });
    Ok(number)
}

pub fn random() -> Result<u32, Failure> {
    add(random_key()?)
}

fn random_key() -> Result<Slot, Failure> {
    let mut key = keys::alloc(KEY_BYTES)?;
    drbg::fill(key.bytes_mut())?;
    Ok(key)
}

/// Reads 32 raw bytes from a regular file that others may not touch, straight into the arena. Owner, group and directory
/// are judged by the caller, who knows what the operator allows.
pub fn from_file(path: &str) -> Result<u32, Failure> {
    let path = c_path(path)?;
    // O_NONBLOCK: opening a pipe must not wait for a writer; it means nothing for regular files.
    let flags = libc::O_RDONLY | libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_NONBLOCK;
    let file = open(&path, flags).map_err(|error| match (error.kind(), error.raw_os_error()) {
        (ErrorKind::NotFound, _) => Failure::new("ROOT_MISSING", "there is no root key file at this path"),
        (ErrorKind::PermissionDenied, _) => {
            Failure::new("ROOT_PERMISSIONS", "this user may not read the root key file")
        }
        (_, Some(libc::ELOOP)) => not_regular(),
        _ => io("cannot open the root key file", &error),
    })?;
    let stat = stat(&file).map_err(|error| io("cannot examine the root key file", &error))?;
    if stat.st_mode & libc::S_IFMT != libc::S_IFREG {
        return Err(not_regular());
    }
    if stat.st_mode & 0o007 != 0 {
        return Err(Failure::new(
            "ROOT_PERMISSIONS",
            "the root key file is open to others; set its mode to 0600",
        ));
    }
    let mut key = keys::alloc(KEY_BYTES)?;
    let complete = stat.st_size == KEY_BYTES as libc::off_t
        && read_exactly(&file, key.bytes_mut())
            .map_err(|error| io("cannot read the root key file", &error))?;
    if !complete {
        return Err(Failure::new("ROOT_LENGTH", "the root key file does not have exactly 32 bytes"));
    }
    add(key)
}

/// Longer than a service manager takes to write 32 bytes; a start that waits for ever says nothing.
const DESCRIPTOR_WAIT: Duration = Duration::from_secs(10);

/// Reads 32 bytes, and the end behind them, from a regular file or a pipe that was handed over open; closes it in any
/// case. Whether others may have it counts only for a file that has a name.
pub fn from_descriptor(descriptor: u32) -> Result<u32, Failure> {
    let descriptor = i32::try_from(descriptor)
        .ok()
        .filter(|&descriptor| descriptor > libc::STDERR_FILENO)
        .ok_or_else(|| Failure::argument("a descriptor from 3 on is expected"))?;
    // SAFETY: asks for flags only; an open descriptor of this number is the caller's to give.
    if unsafe { libc::fcntl(descriptor, libc::F_GETFD) } < 0 {
        return Err(Failure::new("ROOT_MISSING", "there is no open descriptor of this number"));
    }
    // SAFETY: it is open, and handed over with this call.
    let file = unsafe { OwnedFd::from_raw_fd(descriptor) };
    let stat = stat(&file).map_err(|error| io("cannot examine the descriptor", &error))?;
    match stat.st_mode & libc::S_IFMT {
        libc::S_IFREG if stat.st_nlink > 0 && stat.st_mode & 0o007 != 0 => {
            return Err(Failure::new("ROOT_PERMISSIONS", "the root key file is open to others"));
        }
        libc::S_IFREG | libc::S_IFIFO => {}
        _ => return Err(Failure::new("ROOT_NOT_REGULAR", "the descriptor is neither a file nor a pipe")),
    }
    let mut key = keys::alloc(KEY_BYTES)?;
    let until = Instant::now() + DESCRIPTOR_WAIT;
    match read_whole(key.bytes_mut(), |out| read_until(&file, out, until)) {
        Ok(true) => add(key),
        Ok(false) => Err(Failure::new("ROOT_LENGTH", "the descriptor does not give exactly 32 bytes")),
        Err(error) => Err(io("cannot read the root key from its descriptor", &error)),
    }
}

/// `fill` writes the 32 bytes into memory of the arena, which is taken back before this returns.
pub fn from_lent_page(fill: &Unknown) -> Result<u32, Failure> {
    let key = lent::lend(keys::alloc(KEY_BYTES)?, fill)?;
    if key.bytes().iter().all(|&byte| byte == 0) {
        return Err(Failure::new("ROOT_LENGTH", "the page was not filled"));
    }
    add(key)
}

/// Makes a new root key file (mode 0600), durable when this returns. Never overwrites one.
pub fn create_file(path: &str) -> Result<u32, Failure> {
    let directory = match Path::new(path).parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let directory = CString::new(directory.as_os_str().as_bytes())
        .map_err(|_| Failure::argument("a path has no NUL bytes"))?;
    let path = c_path(path)?;
    let key = random_key()?;
    let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW | libc::O_CLOEXEC;
    let file = open(&path, flags).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => Failure::new("ROOT_EXISTS", "there is a file at this path already"),
        ErrorKind::NotFound => Failure::new("ROOT_MISSING", "the directory of the root key file is missing"),
        ErrorKind::PermissionDenied => {
            Failure::new("ROOT_PERMISSIONS", "this user may not write in the root key's directory")
        }
        _ => io("cannot create the root key file", &error),
    })?;
    let written = write_all(&file, key.bytes())
        .and_then(|()| sync(&file))
        .and_then(|()| open(&directory, libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC))
        .and_then(|directory| sync(&directory));
    if let Err(error) = written {
        // A short or perhaps not durable root key is worse than none.
        // SAFETY: a valid C string.
        unsafe { libc::unlink(path.as_ptr()) };
        return Err(io("cannot write the root key file", &error));
    }
    add(key)
}

fn not_regular() -> Failure {
    Failure::new("ROOT_NOT_REGULAR", "the root key path is not a regular file (links are not followed)")
}

fn io(what: &str, error: &Error) -> Failure {
    Failure::new("IO", format!("{what}: {}", error.kind()))
}

fn c_path(path: &str) -> Result<CString, Failure> {
    CString::new(path).map_err(|_| Failure::argument("a path has no NUL bytes"))
}

fn open(path: &CStr, flags: i32) -> Result<OwnedFd, Error> {
    // SAFETY: a valid C string; the mode counts only when a file is made.
    let fd = unsafe { libc::open(path.as_ptr(), flags, 0o600) };
    if fd < 0 {
        return Err(Error::last_os_error());
    }
    // SAFETY: the descriptor was just opened and has no other owner.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn stat(file: &OwnedFd) -> Result<libc::stat, Error> {
    let mut stat = std::mem::MaybeUninit::uninit();
    // SAFETY: fstat fills the struct when it returns 0.
    unsafe {
        if libc::fstat(file.as_raw_fd(), stat.as_mut_ptr()) != 0 {
            return Err(Error::last_os_error());
        }
        Ok(stat.assume_init())
    }
}

fn read_exactly(file: &OwnedFd, out: &mut [u8]) -> Result<bool, Error> {
    read_whole(out, |out| read_some(file, out))
}

/// Fills `out`; false if the input ends before, or goes on after.
fn read_whole(
    out: &mut [u8],
    mut read: impl FnMut(&mut [u8]) -> Result<usize, Error>,
) -> Result<bool, Error> {
    let mut done = 0;
    while done < out.len() {
        match read(&mut out[done..])? {
            0 => return Ok(false),
            got => done += got,
        }
    }
    Ok(read(&mut [0])? == 0)
}

/// Waits for what a pipe brings, at most until then.
fn read_until(file: &OwnedFd, out: &mut [u8], until: Instant) -> Result<usize, Error> {
    loop {
        let left = until.saturating_duration_since(Instant::now()).as_millis() as i32;
        let mut waiting = libc::pollfd { fd: file.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one valid entry.
        match unsafe { libc::poll(&mut waiting, 1, left) } {
            0 => return Err(ErrorKind::TimedOut.into()),
            1.. => return read_some(file, out),
            _ => {
                let error = Error::last_os_error();
                if error.kind() != ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
}

fn read_some(file: &OwnedFd, out: &mut [u8]) -> Result<usize, Error> {
    loop {
        // SAFETY: out is valid for its length.
        let got = unsafe { libc::read(file.as_raw_fd(), out.as_mut_ptr().cast(), out.len()) };
        match usize::try_from(got) {
            Ok(got) => return Ok(got),
            Err(_) => {
                let error = Error::last_os_error();
                if error.kind() != ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
}

fn write_all(file: &OwnedFd, mut bytes: &[u8]) -> Result<(), Error> {
    while !bytes.is_empty() {
        // SAFETY: bytes is valid for its length.
        let put = unsafe { libc::write(file.as_raw_fd(), bytes.as_ptr().cast(), bytes.len()) };
        match usize::try_from(put) {
            Ok(put) => bytes = &bytes[put..],
            Err(_) => {
                let error = Error::last_os_error();
                if error.kind() != ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
    Ok(())
}

fn sync(file: &OwnedFd) -> Result<(), Error> {
    // SAFETY: a valid descriptor.
    if unsafe { libc::fsync(file.as_raw_fd()) } == 0 { Ok(()) } else { Err(Error::last_os_error()) }
}

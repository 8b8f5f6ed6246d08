//! Finds the end of an HTTP/1.1 answer with as little work as that takes: status, Content-Length, and no copy of the
//! body. Answers without Content-Length have no body here; those of the servers that are measured always have one.

/// A server that sends more than this before the body is not one that is measured here.
const MAX_HEAD_BYTES: usize = 64 * 1024;
const HEAD_END: &[u8] = b"\r\n\r\n";

#[derive(Default)]
pub struct AnswerReader {
    /// The beginning of a head that came in pieces.
    head: Vec<u8>,
    status: u16,
    missing_bytes: usize,
}

#[derive(Debug, PartialEq)]
pub enum Progress {
    Incomplete,
    Complete {
        status: u16,
        /// More came than the answer: what belongs to which request cannot be told from here on.
        excess: bool,
    },
    Malformed,
}

impl AnswerReader {
    pub fn clear(&mut self) {
        self.head.clear();
        self.missing_bytes = 0;
    }

    pub fn read(&mut self, bytes: &[u8]) -> Progress {
        if self.missing_bytes > 0 {
            return self.read_body(bytes.len());
        }
        if self.head.is_empty() {
            let Some(end) = end_of_head(bytes) else {
                self.head.extend_from_slice(bytes);
                return Progress::Incomplete;
            };
            return self.read_head(&bytes[..end], bytes.len() - end);
        }
        self.head.extend_from_slice(bytes);
        let Some(end) = end_of_head(&self.head) else {
            return if self.head.len() > MAX_HEAD_BYTES { Progress::Malformed } else { Progress::Incomplete };
        };
        let head = std::mem::take(&mut self.head);
        self.read_head(&head[..end], head.len() - end)
    }

    fn read_head(&mut self, head: &[u8], body_bytes: usize) -> Progress {
        let parsed = status_of(head).zip(content_length(head));
        let Some((status, length)) = parsed else { return Progress::Malformed };
        self.status = status;
        self.missing_bytes = length;
        self.read_body(body_bytes)
    }

    fn read_body(&mut self, bytes: usize) -> Progress {
        let excess = bytes > self.missing_bytes;
        self.missing_bytes = self.missing_bytes.saturating_sub(bytes);
        if self.missing_bytes > 0 {
            return Progress::Incomplete;
        }
        Progress::Complete { status: self.status, excess }
    }
}

fn end_of_head(bytes: &[u8]) -> Option<usize> {
    Some(bytes.windows(HEAD_END.len()).position(|window| window == HEAD_END)? + HEAD_END.len())
}

/// `HTTP/1.1 200 …`
fn status_of(head: &[u8]) -> Option<u16> {
    let digits = head.strip_prefix(b"HTTP/1.")?.get(2..5)?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// 0 when there is none; None when it is no number.
fn content_length(head: &[u8]) -> Option<usize> {
    const NAME: &[u8] = b"content-length:";
    let value = head.split(|byte| *byte == b'\n').find_map(|line| {
        let (name, value) = line.split_at_checked(NAME.len())?;
        name.eq_ignore_ascii_case(NAME).then_some(value)
    });
    match value {
        None => Some(0),
        Some(value) => std::str::from_utf8(value.trim_ascii()).ok()?.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &[u8] = b"HTTP/1.1 429 Too Many\r\nX-Content-Length: 9\r\ncontent-LENGTH:  5 \r\n\r\nhello";
    const COMPLETE: Progress = Progress::Complete { status: 429, excess: false };

    #[test]
    fn an_answer_is_complete_however_its_bytes_come() {
        for first in 0..ANSWER.len() {
            for second in first + 1..ANSWER.len() {
                let mut reader = AnswerReader::default();
                if first > 0 {
                    assert_eq!(reader.read(&ANSWER[..first]), Progress::Incomplete);
                }
                assert_eq!(reader.read(&ANSWER[first..second]), Progress::Incomplete);
                assert_eq!(reader.read(&ANSWER[second..]), COMPLETE);
                assert_eq!(reader.read(ANSWER), COMPLETE, "and the next one after it");
            }
        }
    }

    #[test]
    fn what_comes_after_an_answer_is_noticed() {
        let mut reader = AnswerReader::default();
        assert_eq!(
            reader.read(b"HTTP/1.1 204 None\r\n\r\nx"),
            Progress::Complete { status: 204, excess: true }
        );
    }

    #[test]
    fn what_is_no_answer_is_not_taken_for_one() {
        for bytes in [
            &b"5\r\nhello\r\n0\r\n\r\n"[..],
            b"HTTP/1.1 abc\r\n\r\n",
            b"HTTP/1.1\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        ] {
            assert_eq!(AnswerReader::default().read(bytes), Progress::Malformed);
        }
        let mut reader = AnswerReader::default();
        assert_eq!(reader.read(&[b'x'; MAX_HEAD_BYTES]), Progress::Incomplete);
        assert_eq!(reader.read(b"x"), Progress::Malformed);
    }
}

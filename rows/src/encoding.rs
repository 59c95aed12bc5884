//! Bytes in any encoding to UTF-8.

use std::fmt;
use std::io::{self, Read};
use std::str::FromStr;

use encoding_rs::{Decoder, DecoderResult, UTF_8};

/// How a file's characters are written as bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Encoding(&'static encoding_rs::Encoding);

/// A name that is no encoding's.
#[derive(Debug)]
pub struct UnknownEncoding(String);

impl std::error::Error for UnknownEncoding {}

impl fmt::Display for UnknownEncoding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "no encoding is called {:?}; there are utf-8, utf-16le, gb18030, big5, windows-1252 ...", self.0)
    }
}

impl FromStr for Encoding {
    type Err = UnknownEncoding;

    /// Any name of <https://encoding.spec.whatwg.org/#names-and-labels>.
    fn from_str(name: &str) -> Result<Self, UnknownEncoding> {
        let encoding = encoding_rs::Encoding::for_label(name.as_bytes());
        encoding.map(Self).ok_or_else(|| UnknownEncoding(name.to_owned()))
    }
}

/// The input, of which `head` has been read, as UTF-8, without a byte-order mark. The mark tells
/// UTF-8 and UTF-16 and counts for more than `told`.
///
/// What is UTF-8 already is passed on as it is, for the next reader to check.
pub(crate) fn decode(mut head: Vec<u8>, input: Box<dyn Read + Send>, told: Option<Encoding>) -> Box<dyn Read + Send> {
    let marked = encoding_rs::Encoding::for_bom(&head);
    let rest = head.split_off(marked.map_or(0, |(_, bytes)| bytes));
    let input = Box::new(io::Cursor::new(rest).chain(input));
    let encoding = marked.map(|(encoding, _)| encoding).or(told.map(|told| told.0)).unwrap_or(UTF_8);
    if encoding == UTF_8 {
        return input;
    }
    Box::new(Decoding {
        input,
        encoding,
        decoder: encoding.new_decoder_without_bom_handling(),
        bytes: vec![0; 64 << 10],
        unread: 0..0,
        line: 1,
        is_utf8: (encoding.output_encoding() == encoding).then_some(0),
        end: None,
    })
}

/// Characters of several bytes that stand in UTF-8 before it is believed: in no other encoding do so
/// many happen to.
const BELIEVED: usize = 8;

/// Bytes that the encoding does not have, or that another one explains better.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Malformed {
    encoding: &'static str,
    /// Whether they are UTF-8, which nobody said.
    is_utf8: bool,
    /// Where they stand, counted from 1.
    pub line: u64,
}

impl std::error::Error for Malformed {}

impl fmt::Display for Malformed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_utf8 {
            return write!(out, "not {}, but UTF-8: leave --encoding out", self.encoding);
        }
        write!(out, "not {}; --encoding names another encoding", self.encoding)
    }
}

struct Decoding {
    input: Box<dyn Read + Send>,
    encoding: &'static encoding_rs::Encoding,
    decoder: Decoder,
    bytes: Vec<u8>,
    /// The part of `bytes` that is not decoded yet.
    unread: std::ops::Range<usize>,
    line: u64,
    /// Characters of several bytes that are UTF-8, for as long as all are.
    is_utf8: Option<usize>,
    /// How it ended, once it has.
    end: Option<Result<(), Malformed>>,
}

impl Decoding {
    fn malformed(&self, is_utf8: bool) -> Malformed {
        Malformed { encoding: self.encoding.name(), is_utf8, line: self.line }
    }

    /// UTF-8 in the place of what was told would be read as other characters, without an error.
    fn look_for_utf8(&mut self) {
        let Some(before) = self.is_utf8 else { return };
        let bytes = &self.bytes[self.unread.clone()];
        // A character may have begun before these bytes, and another may end behind them.
        let begun = bytes.iter().take(3).take_while(|byte| (0x80..0xc0).contains(*byte)).count();
        let text = match std::str::from_utf8(&bytes[begun..]) {
            Ok(text) => text,
            Err(error) if error.error_len().is_none() => {
                std::str::from_utf8(&bytes[begun..begun + error.valid_up_to()]).unwrap_or_default()
            }
            Err(_) => return self.is_utf8 = None,
        };
        let several = before + text.chars().filter(|character| !character.is_ascii()).count();
        self.is_utf8 = Some(several);
        if several >= BELIEVED {
            self.end = Some(Err(self.malformed(true)));
            self.unread = 0..0;
        }
    }
}

impl Read for Decoding {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.end {
                Some(Ok(())) => return Ok(0),
                Some(Err(malformed)) => return Err(io::Error::new(io::ErrorKind::InvalidData, malformed)),
                None => {}
            }
            let mut is_last = false;
            if self.unread.is_empty() {
                self.unread = 0..self.input.read(&mut self.bytes)?;
                is_last = self.unread.is_empty();
                self.look_for_utf8();
            }
            if self.end.is_some() {
                continue;
            }
            let bytes = &self.bytes[self.unread.clone()];
            let (result, read, written) = self.decoder.decode_to_utf8_without_replacement(bytes, out, is_last);
            self.unread.start += read;
            self.line += out[..written].iter().filter(|byte| **byte == b'\n').count() as u64;
            match result {
                DecoderResult::Malformed(..) => {
                    self.end = Some(Err(self.malformed(false)));
                }
                DecoderResult::InputEmpty if is_last => self.end = Some(Ok(())),
                DecoderResult::OutputFull if written == 0 => {
                    return Err(io::Error::other("a buffer too small for a character: a bug"));
                }
                _ => {}
            }
            if written > 0 {
                return Ok(written);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8], told: Option<&str>) -> io::Result<String> {
        let mut text = String::new();
        let told = told.map(|name| name.parse().unwrap());
        let (head, rest) = bytes.split_at(bytes.len().min(4));
        decode(head.to_vec(), Box::new(io::Cursor::new(rest.to_vec())), told).read_to_string(&mut text)?;
        Ok(text)
    }

    #[test]
    fn a_byte_order_mark_tells_the_encoding_and_is_no_part_of_the_text() {
        assert_eq!(read(b"\xef\xbb\xbfa", None).unwrap(), "a");
        assert_eq!(read(b"\xff\xfe\x7d\x59\n\0", None).unwrap(), "好\n");
        assert_eq!(read(b"\xfe\xff\x59\x7d", Some("gb18030")).unwrap(), "好");
        assert_eq!(read(b"", None).unwrap(), "");
        assert_eq!(read(b"a", None).unwrap(), "a");
    }

    #[test]
    fn an_encoding_that_was_named_is_decoded_and_a_wrong_one_is_said_with_the_line() {
        assert_eq!(read(b"\xba\xc3,1\n", Some("GB18030")).unwrap(), "好,1\n");
        let utf_8 = read("label,text\n1,很快，很好吃，下次再来\n".as_bytes(), Some("gb18030")).unwrap_err();
        assert!(utf_8.to_string().contains("not gb18030, but UTF-8: leave --encoding out"), "{utf_8}");
        let error = read(b"a\nb\n\xff\xff\n", Some("gb18030")).unwrap_err();
        let malformed = error.get_ref().unwrap().downcast_ref::<Malformed>().unwrap();
        assert_eq!((malformed.line, malformed.encoding), (3, "gb18030"));
        assert!("latin-one".parse::<Encoding>().unwrap_err().to_string().contains("gb18030"));
    }

    #[test]
    fn half_a_character_at_the_end_is_an_error() {
        assert!(read(b"\xff\xfe\x7d", None).is_err());
    }
}

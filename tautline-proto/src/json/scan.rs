//! The scanner. It walks over JSON text once, without recursion, and reports what it passes.

use super::limits::{Check, JsonFault, JsonLimits, NonFinite};
use super::string::{RawString, is_surrogate};

/// Receives the parts of a value as the scanner passes them.
pub(super) trait Sink {
    /// Brackets, separators and the three literals, in canonical form.
    fn fixed(&mut self, text: &'static str);
    /// A string or a key.
    fn string(&mut self, string: RawString<'_>);
    /// A number without fraction and exponent.
    fn integer(&mut self, digits: &str);
    /// Any other number, which is finite.
    fn float(&mut self, value: f64);
}

/// Ignores everything.
struct Discard;

impl Sink for Discard {
    fn fixed(&mut self, _: &'static str) {}
    fn string(&mut self, _: RawString<'_>) {}
    fn integer(&mut self, _: &str) {}
    fn float(&mut self, _: f64) {}
}

/// The text of a value, without whitespace around it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RawValue<'a> {
    pub(crate) text: &'a str,
    pub(crate) check: Check,
}

/// A position in JSON text. It only moves forward.
pub(crate) struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    /// Creates a cursor at the start of `text`.
    pub(crate) fn new(text: &'a [u8]) -> Result<Self, JsonFault> {
        match core::str::from_utf8(text) {
            Ok(text) => Ok(Self { text, at: 0 }),
            Err(error) => Err(JsonFault::NotUtf8 { offset: error.valid_up_to() }),
        }
    }

    /// Passes whitespace. Returns an error unless the text ends after it.
    pub(crate) fn end(&mut self) -> Result<(), JsonFault> {
        self.whitespace();
        if self.at == self.text.len() { Ok(()) } else { Err(self.fault()) }
    }

    /// Passes an object. Calls `member` after each key and colon, which must pass the value.
    pub(crate) fn object(
        &mut self,
        mut member: impl FnMut(&mut Self, RawString<'a>) -> Result<(), JsonFault>,
    ) -> Result<(), JsonFault> {
        self.whitespace();
        self.expect(b'{')?;
        self.whitespace();
        if self.take(b'}') {
            return Ok(());
        }
        loop {
            let key = self.key()?;
            member(self, key)?;
            self.whitespace();
            if self.take(b'}') {
                return Ok(());
            }
            self.expect(b',')?;
        }
    }

    /// Returns whether an object is next.
    pub(crate) fn is_at_object(&mut self) -> bool {
        self.whitespace();
        self.peek() == Some(b'{')
    }

    /// Passes one value of any kind.
    pub(crate) fn value(&mut self, limits: &JsonLimits) -> Result<RawValue<'a>, JsonFault> {
        self.whitespace();
        let start = self.at;
        let check = self.value_into(limits, &mut Discard)?;
        Ok(RawValue { text: &self.text[start..self.at], check })
    }

    /// Passes one value of any kind and reports its parts.
    pub(super) fn value_into<S: Sink>(
        &mut self,
        limits: &JsonLimits,
        sink: &mut S,
    ) -> Result<Check, JsonFault> {
        let mut open = OpenContainers::new(limits.max_depth);
        let mut check = Check::default();
        loop {
            self.whitespace();
            match self.peek() {
                Some(b'[') => {
                    open.push(Container::Array)?;
                    self.at += 1;
                    sink.fixed("[");
                    self.whitespace();
                    if self.peek() != Some(b']') {
                        continue;
                    }
                }
                Some(b'{') => {
                    open.push(Container::Object)?;
                    self.at += 1;
                    sink.fixed("{");
                    self.whitespace();
                    if self.peek() != Some(b'}') {
                        self.member_key(sink)?;
                        continue;
                    }
                }
                Some(b'"') => sink.string(self.string()?),
                Some(b't') => self.literal("true", sink)?,
                Some(b'f') => self.literal("false", sink)?,
                Some(b'n') => self.literal("null", sink)?,
                _ => check.nonfinite |= self.number(limits.nonfinite, sink)?,
            }
            if !self.next_value(&mut open, sink)? {
                return Ok(check);
            }
        }
    }

    /// Closes the containers that end after a value. Returns whether another value follows.
    fn next_value<S: Sink>(&mut self, open: &mut OpenContainers, sink: &mut S) -> Result<bool, JsonFault> {
        while let Some(container) = open.innermost() {
            self.whitespace();
            let (closing, text) = match container {
                Container::Array => (b']', "]"),
                Container::Object => (b'}', "}"),
            };
            if self.take(closing) {
                sink.fixed(text);
                open.pop();
                continue;
            }
            self.expect(b',')?;
            sink.fixed(", ");
            if container == Container::Object {
                self.member_key(sink)?;
            }
            return Ok(true);
        }
        Ok(false)
    }

    /// Passes a key and its colon, and reports both.
    fn member_key<S: Sink>(&mut self, sink: &mut S) -> Result<(), JsonFault> {
        sink.string(self.key()?);
        sink.fixed(": ");
        Ok(())
    }

    /// Passes a key and its colon.
    fn key(&mut self) -> Result<RawString<'a>, JsonFault> {
        self.whitespace();
        let key = self.string()?;
        self.whitespace();
        self.expect(b':')?;
        Ok(key)
    }

    /// Passes a string.
    fn string(&mut self) -> Result<RawString<'a>, JsonFault> {
        self.expect(b'"')?;
        match RawString::split(&self.text[self.at..]) {
            Ok(string) => {
                self.at += string.len() + 1;
                Ok(string)
            }
            Err(offset) => {
                let offset = self.at + offset;
                let is_half = is_surrogate(&self.text[offset..]);
                Err(if is_half { JsonFault::LoneSurrogate { offset } } else { JsonFault::Syntax { offset } })
            }
        }
    }

    /// Passes a number. Returns true if the number is not finite and `policy` lets it be read as `null`.
    fn number<S: Sink>(&mut self, policy: NonFinite, sink: &mut S) -> Result<bool, JsonFault> {
        let finite = match self.peek() {
            Some(b'N') => self.word("NaN").map(|()| false)?,
            Some(b'I') => self.word("Infinity").map(|()| false)?,
            Some(b'-') if self.rest().get(1) == Some(&b'I') => self.word("-Infinity").map(|()| false)?,
            Some(b'-' | b'0'..=b'9') => self.digits_point_exponent(sink)?,
            _ => return Err(self.fault()),
        };
        match policy {
            _ if finite => Ok(false),
            NonFinite::Refuse => Err(JsonFault::NotFinite),
            NonFinite::Null => {
                sink.fixed("null");
                Ok(true)
            }
        }
    }

    /// Passes a number that is written in digits. Reports it and returns true, unless it is too large to be finite.
    fn digits_point_exponent<S: Sink>(&mut self, sink: &mut S) -> Result<bool, JsonFault> {
        let start = self.at;
        self.take(b'-');
        // No digit may follow a leading zero.
        if !self.take(b'0') {
            self.digits()?;
        }
        let whole = self.at;
        if self.take(b'.') {
            self.digits()?;
        }
        if self.take(b'e') || self.take(b'E') {
            let _ = self.take(b'+') || self.take(b'-');
            self.digits()?;
        }
        let text = &self.text[start..self.at];
        if self.at == whole {
            sink.integer(text);
            return Ok(true);
        }
        let value: f64 = text.parse().map_err(|_| JsonFault::Syntax { offset: start })?;
        if value.is_finite() {
            sink.float(value);
        }
        Ok(value.is_finite())
    }

    /// Passes one or more digits.
    fn digits(&mut self) -> Result<(), JsonFault> {
        let count = self.rest().iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += count;
        if count > 0 { Ok(()) } else { Err(self.fault()) }
    }

    /// Passes and reports a literal.
    fn literal<S: Sink>(&mut self, word: &'static str, sink: &mut S) -> Result<(), JsonFault> {
        self.word(word)?;
        sink.fixed(word);
        Ok(())
    }

    /// Passes `word`. Returns an error if another text is here.
    fn word(&mut self, word: &str) -> Result<(), JsonFault> {
        if !self.rest().starts_with(word.as_bytes()) {
            return Err(self.fault());
        }
        self.at += word.len();
        Ok(())
    }

    fn whitespace(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn expect(&mut self, byte: u8) -> Result<(), JsonFault> {
        if self.take(byte) { Ok(()) } else { Err(self.fault()) }
    }

    /// Passes `byte` if it is next. Returns whether it was.
    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn peek(&self) -> Option<u8> {
        self.rest().first().copied()
    }

    fn rest(&self) -> &'a [u8] {
        &self.text.as_bytes()[self.at..]
    }

    fn fault(&self) -> JsonFault {
        JsonFault::Syntax { offset: self.at }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Container {
    Array,
    Object,
}

/// The open containers. Each has one bit, the innermost the lowest, so that depth needs no memory.
struct OpenContainers {
    objects: u128,
    depth: usize,
    max_depth: usize,
}

const _: () = assert!(JsonLimits::MAX_DEPTH <= u128::BITS as usize);

impl OpenContainers {
    fn new(max_depth: usize) -> Self {
        Self { objects: 0, depth: 0, max_depth: max_depth.min(JsonLimits::MAX_DEPTH) }
    }

    fn push(&mut self, container: Container) -> Result<(), JsonFault> {
        if self.depth == self.max_depth {
            return Err(JsonFault::TooDeep);
        }
        self.depth += 1;
        self.objects = self.objects << 1 | u128::from(container == Container::Object);
        Ok(())
    }

    fn pop(&mut self) {
        self.depth -= 1;
        self.objects >>= 1;
    }

    fn innermost(&self) -> Option<Container> {
        match self.depth {
            0 => None,
            _ if self.objects & 1 == 1 => Some(Container::Object),
            _ => Some(Container::Array),
        }
    }
}

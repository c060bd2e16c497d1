//! Prints a line for each thing that passes.

use std::net::SocketAddr;

use serde::Serialize;
use serde_json::value::RawValue;
use tautline::WallTime;

use super::Args;
use super::summary::{self, Total};
use crate::tools::exit::{Exit, Failure};
use crate::tools::observe::{Observer, Order, Passing, Seen, What};
use crate::tools::output::{self, BAD, BOLD, FAINT, Styled, cut, escaped};
use crate::tools::people_line;

/// Reads what passes, and prints it.
#[derive(Debug)]
pub(super) struct Show<'a> {
    args: &'a Args,
    observer: Observer,
    /// Client and server of each link that was shown, in the order of their numbers.
    links: Vec<(SocketAddr, SocketAddr)>,
    first: Option<WallTime>,
    last: WallTime,
    lines: u64,
}

/// The most links with a number of their own. Further ones are shown as link 0.
const MOST_NUMBERED: usize = 10_000;

impl<'a> Show<'a> {
    pub(super) fn new(args: &'a Args) -> Self {
        let last = WallTime::from_nanos(0);
        Self { args, observer: Observer::default(), links: Vec::new(), first: None, last, lines: 0 }
    }

    /// Whether more lines are wanted.
    pub(super) fn goes_on(&self) -> bool {
        self.args.count.is_none_or(|count| self.lines < count)
    }

    /// Shows a datagram. Returns whether more are wanted.
    pub(super) fn take(&mut self, passing: &Passing<'_>) -> Result<bool, Failure> {
        let since = passing.at.nanos_since(*self.first.get_or_insert(passing.at));
        self.last = passing.at;
        let mut printed = String::new();
        let (args, links, columns) = (self.args, &mut self.links, output::columns());
        let mut left = args.count.map_or(u64::MAX, |count| count.saturating_sub(self.lines));
        let before = left;
        self.observer.see(passing, &mut |seen| {
            if left == 0 || !is_wanted(args, seen) {
                return;
            }
            left -= 1;
            let ends = if seen.from_server {
                (seen.passing.to, seen.passing.from)
            } else {
                (seen.passing.from, seen.passing.to)
            };
            let (number, is_new) = number_of(links, ends);
            if args.json {
                printed.push_str(&json(seen, since, number));
            } else {
                if is_new {
                    let title = format!("link {number}: client {}, server {}", ends.0, ends.1);
                    printed.push_str(&format!("{}\n", Styled(BOLD, title)));
                }
                printed.push_str(&cut(&line(seen, since, number), columns));
            }
            printed.push('\n');
        });
        self.lines += before - left;
        if !printed.is_empty() {
            output::data(&printed)?;
        }
        Ok(self.goes_on())
    }

    /// Prints the summary.
    pub(super) fn end(mut self) -> Result<Exit, Failure> {
        let forgotten = self.observer.forgotten;
        let totals: Vec<Total> = self.observer.links(self.last).iter().map(Total::of).collect();
        output::data(&if self.args.json {
            summary::json(&totals, forgotten)
        } else {
            output::on_terminal(summary::text(&totals, forgotten))
        })?;
        Ok(Exit::Done)
    }
}

/// Whether this is shown: with --type, only messages of these types.
fn is_wanted(args: &Args, seen: &Seen<'_>) -> bool {
    match &seen.what {
        _ if args.types.is_empty() => true,
        What::Message { message, .. } => args.types.contains(&message.message_type),
        _ => false,
    }
}

/// Returns the number of a link, from 1, and whether it is new.
fn number_of(links: &mut Vec<(SocketAddr, SocketAddr)>, ends: (SocketAddr, SocketAddr)) -> (usize, bool) {
    if let Some(place) = links.iter().position(|known| *known == ends) {
        return (place + 1, false);
    }
    if links.len() == MOST_NUMBERED {
        return (0, false);
    }
    links.push(ends);
    (links.len(), true)
}

fn line(seen: &Seen<'_>, since: i64, link: usize) -> String {
    let time = Styled(FAINT, format!("{:11.6}", since as f64 / 1e9));
    let direction = if seen.from_server { '<' } else { '>' };
    let number = seen.number.map_or_else(String::new, |number| format!("#{number}"));
    let order = match seen.order {
        Order::Unnumbered | Order::Next { missing: 0 } => String::new(),
        Order::Next { missing } => format!(" {}", Styled(BAD, format!("{missing} missing"))),
        Order::Late => format!(" {}", Styled(BAD, "late")),
        Order::Duplicate => format!(" {}", Styled(BAD, "duplicate")),
        Order::Old => format!(" {}", Styled(BAD, "too old")),
    };
    let what = match &seen.what {
        What::Message { message, is_again } => format!(
            "{} {} {} {}{}",
            people_line::kind(message),
            people_line::age(message.age),
            people_line::sender(message),
            if *is_again { "(again) " } else { "" },
            people_line::data(message),
        ),
        What::Control(text) => Styled(FAINT, escaped(text)).to_string(),
        What::Sealed { phase, length } => {
            Styled(FAINT, format!("sealed, {length} bytes, key phase {}", u8::from(*phase))).to_string()
        }
        What::Wrong(reason) => format!("{} {}", Styled(BAD, reason), reason.explanation()),
    };
    format!("{time} {link}{direction} {number:<7}{order} {what}")
}

/// A line as JSON. Only what is known is written.
#[derive(Serialize)]
struct Line<'a> {
    time: f64,
    link: usize,
    from: SocketAddr,
    to: SocketAddr,
    direction: &'a str,
    number: Option<u64>,
    order: Option<&'a str>,
    #[serde(skip_serializing_if = "is_zero")]
    missing: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    again: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    control: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sealed_bytes: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_phase: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    wrong: Option<String>,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // as serde calls it
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

fn json(seen: &Seen<'_>, since: i64, link: usize) -> String {
    let (order, missing) = match seen.order {
        Order::Unnumbered => (None, 0),
        Order::Next { missing } => (Some("next"), missing),
        Order::Late => (Some("late"), 0),
        Order::Duplicate => (Some("duplicate"), 0),
        Order::Old => (Some("too_old"), 0),
    };
    let mut line = Line {
        time: since as f64 / 1e9,
        link,
        from: seen.passing.from,
        to: seen.passing.to,
        direction: if seen.from_server { "to_client" } else { "to_server" },
        number: seen.number,
        order,
        missing,
        message: None,
        again: false,
        control: None,
        sealed_bytes: None,
        key_phase: None,
        wrong: None,
    };
    match &seen.what {
        What::Message { message, is_again } => {
            line.message = RawValue::from_string(message.document()).ok();
            line.again = *is_again;
        }
        What::Control(text) => line.control = Some(text),
        What::Sealed { phase, length } => {
            (line.sealed_bytes, line.key_phase) = (Some(*length), Some(u8::from(*phase)));
        }
        What::Wrong(reason) => line.wrong = Some(reason.to_string()),
    }
    serde_json::to_string(&line).expect("numbers and text are JSON")
}

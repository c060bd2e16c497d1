//! Two ends of a link on one time line: which way lost what.
//!
//! [`flow`] collects what each end has sent and what came to it, [`clocks`] compares their clocks. A datagram that one end has sent
//! while the other one was recording, and that the other has not received, was lost on its way.

mod clocks;
mod flow;
mod kinds;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, HashSet};

use tautline::black_box::read::BlackBoxFile;

use self::clocks::{Journeys, Offset};
use self::flow::{At, Came, End, Id, Sent};
use super::causes;
use super::story::WINDOW;
use super::timeline::{self, Lane};
use super::words::told;
use crate::tools::exit::Failure;

/// Datagrams that were sent this shortly before the other end's record ends, or has a gap, may have come after that.
const ON_THE_WAY: i64 = 100_000_000;

/// At most so many runs of losses of each way, and so many lines of the time line, are shown.
const MOST_RUNS: usize = 10;
const MOST_LINES: usize = 60;

/// How long the time line goes on after the cause.
const AFTER: i64 = 500_000_000;

/// Both ends, and what they show together. Times are those of the first one's clock.
#[derive(Debug)]
pub(super) struct Ends {
    ends: [End; 2],
    offset: Offset,
}

/// What happened to the datagrams of one direction, as far as both ends have recorded it.
#[derive(Debug)]
struct Way<'a> {
    from: &'a End,
    to: &'a End,
    sent: usize,
    /// When each datagram was sent, and how long it took.
    arrived: Vec<(At, i64)>,
    dropped: BTreeMap<&'static str, usize>,
    /// Numbers that the sender's kernel has refused.
    refused: usize,
    runs: Vec<Run<'a>>,
    kernel_drops: u64,
}

/// Datagrams in a row that were lost.
#[derive(Debug, Default)]
struct Run<'a> {
    lost: Vec<(At, &'a Sent)>,
}

impl Ends {
    /// Runs both files again.
    ///
    /// # Errors
    ///
    /// They cannot be read, or are not two ends of one link.
    pub(super) fn of(files: [&BlackBoxFile; 2]) -> Result<Self, Failure> {
        let failure = |error: tautline::black_box::read::BlackBoxError| Failure::failed(error.to_string());
        let mut ends = [End::of(files[0]).map_err(failure)?, End::of(files[1]).map_err(failure)?];
        let [first, second] = &mut ends;
        if first.is_server == second.is_server {
            return Err(same_end(first, second));
        }
        if first.name == second.name {
            for end in [&mut *first, &mut *second] {
                end.name = format!("{} {}", role(end), end.name);
            }
        }
        first.keep_link_to(second);
        second.keep_link_to(first);
        let [there, back] = [journeys(&ends[0], &ends[1]), journeys(&ends[1], &ends[0])];
        let offset = clocks::offset(&there, &back).ok_or_else(|| {
            Failure::failed(
                "the two files have no datagram in common: give the files of both ends of one link, of the same time. (A larger \
                 `black_box` reaches further back.)",
            )
        })?;
        Ok(Self { ends, offset })
    }

    /// A time of an end's clock, by the clock of the first end.
    const fn common(&self, end: usize, at: At) -> At {
        if end == 0 { at } else { at - self.offset.ahead }
    }

    fn way(&self, from: usize) -> Way<'_> {
        let (to, sender, receiver) = (1 - from, &self.ends[from], &self.ends[1 - from]);
        let slack = self.offset.error.unwrap_or(0);
        let covers = |at: At| {
            receiver.covers.iter().any(|(from, until)| {
                (self.common(to, *from) + slack..self.common(to, *until) - slack - ON_THE_WAY).contains(&at)
            })
        };
        let came = by_id(&receiver.came);
        let taken: HashSet<Id> =
            sender.sent.iter().filter(|sent| sent.is_taken).map(|sent| sent.id).collect();
        let mut way = Way {
            from: sender,
            to: receiver,
            sent: 0,
            arrived: Vec::new(),
            dropped: BTreeMap::new(),
            refused: 0,
            runs: Vec::new(),
            kernel_drops: receiver.story.kernel_drops(),
        };
        let mut run = Run::default();
        let mut seen = HashSet::new();
        for sent in &sender.sent {
            let at = self.common(from, sent.at);
            if !covers(at) || !seen.insert(sent.id) {
                continue;
            }
            let came = came.get(&sent.id);
            if !taken.contains(&sent.id) && came.is_none() {
                way.refused += 1;
                continue;
            }
            way.sent += 1;
            let Some(came) = came else {
                run.lost.push((at, sent));
                continue;
            };
            way.runs.extend(Some(std::mem::take(&mut run)).filter(|run| !run.lost.is_empty()));
            way.arrived.push((at, self.common(to, came.at) - at));
            if let Some(reason) = came.dropped {
                *way.dropped.entry(reason.name()).or_default() += 1;
            }
        }
        way.runs.extend(Some(run).filter(|run| !run.lost.is_empty()));
        way
    }

    /// What both ends show, as text.
    pub(super) fn text(&self) -> String {
        let [first, second] = &self.ends;
        let mut text = first.story.doubt() + &second.story.doubt();
        text += &format!(
            "Two ends: {:?} ({}) and {:?} ({}).\n{}\n",
            first.name,
            role(first),
            second.name,
            role(second),
            self.clocks()
        );
        text.push_str("\nWhat went wrong\n");
        self.causes().iter().for_each(|line| text.push_str(&format!("  {line}\n")));
        let ways = [self.way(0), self.way(1)];
        if ways.iter().all(|way| way.sent == 0) {
            text.push_str("\nThe two records have no time in common: a larger `black_box` keeps more.\n");
        }
        for way in ways {
            text.push('\n');
            text.push_str(&way.text(self.zero()));
        }
        text.push_str(&format!(
            "\nTime line, by the clock of {:?}; 0 ms is {}, {}\n",
            first.name,
            first.story.cause(),
            first.story.cause_time()
        ));
        let lines = self.lines();
        let left_out = lines.len().saturating_sub(MOST_LINES);
        if left_out > 0 {
            text.push_str(&format!("  {left_out} earlier lines are left out\n"));
        }
        for (at, line) in &lines[left_out..] {
            text.push_str(&format!("  {:9.1} ms  {line}\n", ms(at - self.zero())));
        }
        text
    }

    /// What went wrong, by the file of each end alone.
    fn causes(&self) -> Vec<String> {
        let of_end = |end: &End| {
            let told = causes::told(&end.story, &causes::of(&end.story)).into_iter();
            told.map(|line| format!("{}: {line}", end.name)).collect::<Vec<_>>()
        };
        self.ends.iter().flat_map(of_end).collect()
    }

    fn clocks(&self) -> String {
        let [first, second] = &self.ends;
        // Clocks may be hours apart.
        let exact = |nanos: i64| match ms(nanos).abs() {
            ms if ms < 10_000.0 => format!("{ms:.3} ms"),
            ms => format!("{:.3} s", ms / 1e3),
        };
        let way = if self.offset.ahead < 0 { "behind" } else { "ahead of" };
        let error = match self.offset.error {
            Some(error) => format!("give or take {}", exact(error)),
            None if [0, 1].iter().all(|from| !self.way(*from).arrived.is_empty()) => {
                "how exact that is, is not known: by their times, some datagrams came before they were sent, so a clock was set"
                    .to_owned()
            }
            None => "how exact that is, is not known: there are no datagrams in both directions".to_owned(),
        };
        format!(
            "The clock of {:?} is {} {way} that of {:?}, {error}.",
            second.name,
            exact(self.offset.ahead),
            first.name
        )
    }

    const fn zero(&self) -> At {
        self.ends[0].cause_at()
    }

    /// What happened at both ends near the cause, in order.
    fn lines(&self) -> Vec<(At, String)> {
        let mut lines = Vec::new();
        for (index, end) in self.ends.iter().enumerate() {
            lines.push((self.common(index, end.cause_at()), format!("{}: {}", end.name, end.story.cause())));
            for (at, event) in &end.story.events {
                lines.push((self.common(index, end.at(*at)), format!("{}: {}", end.name, told(event))));
            }
            for run in self.way(index).runs {
                if let (Some((at, _)), Some(_)) = (run.lost.first(), run.lost.last()) {
                    let to = &self.ends[1 - index].name;
                    lines.push((*at, format!("{} to {to}: {}", end.name, run.text())));
                }
            }
        }
        let near = self.zero().saturating_sub_unsigned(WINDOW)..self.zero() + AFTER;
        lines.retain(|(at, _)| near.contains(at));
        lines.sort();
        lines
    }

    /// The lanes of a picture with both ends, and the time of the cause in it.
    pub(super) fn page(&self) -> String {
        let ways = [self.way(0), self.way(1)];
        let unsigned = |at: At| u64::try_from(at).unwrap_or(0);
        let mut lanes = Vec::new();
        for way in &ways {
            let lane = |name: &str, values, is_sum, unit| Lane {
                name: format!("{} {name}", way.from.name),
                values,
                is_sum,
                unit,
            };
            let arrived = way.arrived.iter().map(|(at, _)| (unsigned(*at), 1.0)).collect();
            let lost = way.runs.iter().flat_map(|run| run.lost.iter().map(|(at, _)| (unsigned(*at), 1.0)));
            let took = way.arrived.iter().map(|(at, took)| (unsigned(*at), ms(*took).max(0.0))).collect();
            lanes.push(lane("sent, arrived", arrived, true, ""));
            lanes.push(lane("sent, lost", lost.collect(), true, ""));
            lanes.push(lane("time on the way", took, false, " ms"));
        }
        let ways = ways.iter().flat_map(|way| way.summary(self.zero())).collect();
        let lines = self.lines();
        let events = lines.iter().map(|(at, line)| format!("{:.1} ms: {line}", ms(at - self.zero())));
        let [first, second] = &self.ends;
        timeline::document(
            &format!("{} and {}. {}", first.name, second.name, self.clocks()),
            &self.causes(),
            &timeline::picture(&lanes, unsigned(self.zero()), first.story.cause()),
            &[("Which way lost what", ways), ("Time line", events.collect())],
        )
    }
}

impl Way<'_> {
    fn lost(&self) -> usize {
        self.runs.iter().map(|run| run.lost.len()).sum()
    }

    fn summary(&self, zero: At) -> Vec<String> {
        let (from, to, lost) = (&self.from.name, &self.to.name, self.lost());
        let mut lines = vec![format!(
            "{from} to {to}: {} datagrams sent while both were recorded, {} arrived, {lost} lost on the way",
            self.sent,
            self.arrived.len()
        )];
        if self.kernel_drops > 0 && lost > 0 {
            let drops = self.kernel_drops;
            lines.push(format!("{to}'s kernel dropped {drops}, because its receive buffer was full"));
        }
        if self.refused > 0 {
            lines.push(format!(
                "{from}'s kernel has refused {} more, which were never on the way",
                self.refused
            ));
        }
        for (reason, count) in &self.dropped {
            lines.push(format!("{to} has dropped {count} of those that arrived ({reason})"));
        }
        if let Some((at, longest)) = self.arrived.iter().max_by_key(|(_, took)| *took) {
            let mut took: Vec<i64> = self.arrived.iter().map(|(_, took)| *took).collect();
            took.sort_unstable();
            let median = took[took.len() / 2];
            lines.push(format!(
                "time on the way: {:.3} ms in the median, at most {:.3} ms (sent at {:.1} ms)",
                ms(median),
                ms(*longest),
                ms(at - zero)
            ));
        }
        lines
    }

    fn text(&self, zero: At) -> String {
        let mut lines = self.summary(zero).into_iter();
        let mut text = lines.next().map_or_else(String::new, |first| format!("{first}\n"));
        lines.for_each(|line| text.push_str(&format!("  {line}\n")));
        let mut longest: Vec<&Run<'_>> = self.runs.iter().collect();
        longest.sort_by_key(|run| std::cmp::Reverse(run.lost.len()));
        longest.truncate(MOST_RUNS);
        longest.sort_by_key(|run| run.lost.first().map(|(at, _)| *at));
        for run in longest {
            let at = run.lost.first().map_or(0, |(at, _)| *at);
            text.push_str(&format!("  {:.1} ms: {}\n", ms(at - zero), run.text()));
        }
        if self.runs.len() > MOST_RUNS {
            text.push_str(&format!(
                "  {} shorter runs of losses are left out\n",
                self.runs.len() - MOST_RUNS
            ));
        }
        text
    }
}

impl Run<'_> {
    fn text(&self) -> String {
        let datagrams = match self.lost.len() {
            1 => "1 datagram lost".to_owned(),
            many => format!("{many} datagrams in a row lost"),
        };
        format!("{datagrams}: {}", kinds::of(self.lost.iter().map(|(_, sent)| &sent.bytes[..])))
    }
}

/// The first arrival of each datagram.
fn by_id(came: &[Came]) -> HashMap<Id, &Came> {
    let mut by_id = HashMap::new();
    came.iter().for_each(|came| {
        by_id.entry(came.id).or_insert(came);
    });
    by_id
}

/// Which datagrams of one end came to the other one, and when. Datagrams that are equal, such as a handshake that is repeated, cannot
/// be told from each other: which one came is not known if one of them was lost. So they count only if there are no others, as may
/// be on the classic wire.
fn journeys(from: &End, to: &End) -> Journeys {
    let mut copies = HashMap::<Id, [Vec<At>; 2]>::new();
    for sent in from.sent.iter().filter(|sent| sent.is_taken) {
        copies.entry(sent.id).or_default()[0].push(sent.at);
    }
    for came in &to.came {
        if let Some([_, times]) = copies.get_mut(&came.id) {
            times.push(came.at);
        }
    }
    let (unique, repeated): (Vec<_>, Vec<_>) = copies.into_values().partition(|[sent, _]| sent.len() == 1);
    // The first arrival, if the network has repeated a datagram.
    let pairs = |copies: Vec<[Vec<At>; 2]>| {
        copies.into_iter().flat_map(|[sent, came]| sent.into_iter().zip(came)).collect()
    };
    let journeys: Journeys = pairs(unique);
    if journeys.is_empty() { pairs(repeated) } else { journeys }
}

/// Two servers or two clients are never the ends of one link.
fn same_end(first: &End, second: &End) -> Failure {
    let [given, wanted] = if first.is_server { ["server", "client"] } else { ["client", "server"] };
    let which = if first.name == second.name {
        format!("both files are of the same end, the {given} {:?}", first.name)
    } else {
        format!("both files are of a {given}, {:?} and {:?}", first.name, second.name)
    };
    Failure::usage(format!("{which}: name one of them, or one of them and the file of its {wanted}"))
}

const fn role(end: &End) -> &'static str {
    if end.is_server { "server" } else { "client" }
}

fn ms(nanos: i64) -> f64 {
    nanos as f64 / 1e6
}

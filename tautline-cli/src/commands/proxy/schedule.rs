//! Reads a schedule from a TOML file. A schedule says which impairments apply from which time on.

use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use clap::ValueEnum;
use tautline::sim::Impairments;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::tools::exit::Failure;
use crate::tools::files::check_file;
use crate::tools::impair::{self, BothDirections, Direction};
use crate::tools::link::time;

/// The largest number of phases.
const MOST_PHASES: usize = 10_000;

/// The phases of a run in order, and the time after which they start again.
#[derive(Debug)]
pub(super) struct Schedule {
    phases: Vec<SchedulePhase>,
    repeat: Option<Duration>,
}

#[derive(Debug)]
struct SchedulePhase {
    after: Duration,
    both: BothDirections,
}

/// The keys of a phase that are not impairments.
const AFTER: &str = "after";
const DIRECTION: &str = "direction";

impl Schedule {
    /// Reads a file. The command line's `options` apply in each phase unless the phase overrides them.
    pub(super) fn read(path: &Path, options: &BothDirections) -> Result<Self, Failure> {
        let problem = |problem: &dyn fmt::Display| Failure::usage(format!("{}: {problem}", path.display()));
        check_file(path)?;
        let text = std::fs::read_to_string(path)
            .map_err(|error| Failure::usage(format!("cannot read {}: {error}", path.display())))?;
        Self::parse(&text, options).map_err(|error| problem(&error.in_text(&text)))
    }

    fn parse(text: &str, options: &BothDirections) -> Result<Self, ScheduleError> {
        let table = DeTable::parse(text).map_err(|error| ScheduleError {
            at: error.span().unwrap_or(0..0),
            problem: error.message().replace('\n', "; "),
        })?;
        let mut schedule = Self { phases: Vec::new(), repeat: None };
        for (key, value) in table.get_ref() {
            match key.get_ref().as_ref() {
                "repeat" => schedule.repeat = Some(duration(key, value)?),
                "phase" => schedule.read_phases(value, options)?,
                _ => return Err(wrong(key, "is not known here: expected [[phase]] or repeat")),
            }
        }
        schedule.check(table.span())
    }

    fn read_phases(
        &mut self,
        value: &Spanned<DeValue<'_>>,
        options: &BothDirections,
    ) -> Result<(), ScheduleError> {
        let not_tables = || ScheduleError {
            at: value.span(),
            problem: "write each phase as a table: [[phase]]".to_owned(),
        };
        let phases = value.get_ref().as_array().ok_or_else(not_tables)?;
        for phase in phases {
            let table = phase.get_ref().as_table().ok_or_else(not_tables)?;
            let read = read_phase(table, phase.span(), options)?;
            if self.phases.last().is_some_and(|before| before.after >= read.after) {
                let problem =
                    format!("`{AFTER}` counts from the start of the run and must grow from phase to phase");
                return Err(ScheduleError { at: phase.span(), problem });
            }
            self.phases.push(read);
        }
        Ok(())
    }

    /// Checks the rules that concern the whole schedule.
    fn check(self, whole: Range<usize>) -> Result<Self, ScheduleError> {
        let problem = match (self.phases.last(), self.repeat) {
            (None, _) => "a schedule needs at least one [[phase]]".to_owned(),
            _ if self.phases.len() > MOST_PHASES => format!("a schedule can have up to {MOST_PHASES} phases"),
            (Some(last), Some(repeat)) if repeat <= last.after => {
                "`repeat` must be later than the last phase's `after`".to_owned()
            }
            _ => return Ok(self),
        };
        Err(ScheduleError { at: whole.start..whole.start, problem })
    }

    /// Returns the number of the phase (from 1) that applies at this time, and its impairments. Returns `None` before
    /// the first phase.
    pub(super) fn at(&self, elapsed: Duration) -> Option<(usize, BothDirections)> {
        let number = self.begun(self.within(elapsed));
        Some((number, self.phases[number.checked_sub(1)?].both))
    }

    /// Returns the time until the next phase, or `None` if there is no later phase.
    pub(super) fn until_next(&self, elapsed: Duration) -> Option<Duration> {
        let within = self.within(elapsed);
        let next = self.phases.get(self.begun(within)).map(|phase| phase.after);
        next.or(self.repeat).map(|at| at.saturating_sub(within))
    }

    /// Returns the time since the phases last started.
    fn within(&self, elapsed: Duration) -> Duration {
        let ns = self.repeat.map_or(elapsed.as_nanos(), |repeat| elapsed.as_nanos() % repeat.as_nanos());
        Duration::from_nanos(u64::try_from(ns).unwrap_or(u64::MAX))
    }

    /// Returns the number of phases that have begun.
    fn begun(&self, within: Duration) -> usize {
        self.phases.iter().take_while(|phase| phase.after <= within).count()
    }

    /// Returns the number of phases.
    pub(super) fn len(&self) -> usize {
        self.phases.len()
    }
}

fn read_phase(
    table: &DeTable<'_>,
    at: Range<usize>,
    options: &BothDirections,
) -> Result<SchedulePhase, ScheduleError> {
    let (mut after, mut direction) = (None, Direction::Both);
    for (key, value) in table {
        match key.get_ref().as_ref() {
            AFTER => after = Some(duration(key, value)?),
            DIRECTION => {
                direction = Direction::from_str(&text(key, value)?, false)
                    .map_err(|_| wrong(key, "expects both, to-target or to-client"))?;
            }
            _ => {}
        }
    }
    let Some(after) = after else {
        return Err(ScheduleError {
            at,
            problem: format!("this phase needs `{AFTER}`, such as {AFTER} = \"5s\""),
        });
    };
    let mut both = *options;
    for impairments in [&mut both.to_target, &mut both.to_client] {
        apply(impairments, table)?;
        impairments.check().map_err(|error| ScheduleError { at: at.clone(), problem: error.to_string() })?;
    }
    let both = match direction {
        Direction::Both => both,
        Direction::ToTarget => options.with(direction, both.to_target),
        Direction::ToClient => options.with(direction, both.to_client),
    };
    Ok(SchedulePhase { after, both })
}

fn apply(impairments: &mut Impairments, table: &DeTable<'_>) -> Result<(), ScheduleError> {
    for (key, value) in table {
        let name = key.get_ref().as_ref();
        if ![AFTER, DIRECTION].contains(&name) {
            impair::set(impairments, name, &text(key, value)?).map_err(|problem| wrong(key, &problem))?;
        }
    }
    Ok(())
}

fn duration(key: &Key<'_>, value: &Spanned<DeValue<'_>>) -> Result<Duration, ScheduleError> {
    let text = text(key, value)?;
    time(&text).map_err(|error| wrong(key, &format!("is {text:?}: {error}")))
}

/// Returns a value as text, with or without quotes in the file.
fn text(key: &Key<'_>, value: &Spanned<DeValue<'_>>) -> Result<String, ScheduleError> {
    match value.get_ref() {
        DeValue::String(text) => Ok(text.to_string()),
        DeValue::Integer(number) => Ok(number.to_string()),
        DeValue::Float(number) => Ok(number.to_string()),
        DeValue::Boolean(value) => Ok(value.to_string()),
        other => Err(wrong(key, &format!("is of type {}: expected text or a number", other.type_str()))),
    }
}

type Key<'a> = Spanned<std::borrow::Cow<'a, str>>;

/// An error in a schedule, and its position in the text.
#[derive(Debug)]
struct ScheduleError {
    at: Range<usize>,
    problem: String,
}

fn wrong(key: &Key<'_>, problem: &str) -> ScheduleError {
    ScheduleError { at: key.span(), problem: format!("`{}` {problem}", key.get_ref()) }
}

impl ScheduleError {
    fn in_text(&self, text: &str) -> String {
        let line = text.bytes().take(self.at.start).filter(|byte| *byte == b'\n').count() + 1;
        format!("line {line}: {}", self.problem)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Schedule, String> {
        let options = impair::list("delay=1ms").expect("a list");
        let options = BothDirections::default().with(Direction::Both, options);
        Schedule::parse(text, &options).map_err(|wrong| wrong.in_text(text))
    }

    const GOOD: &str = "\
repeat = \"20s\"

[[phase]]
after = \"5s\"
loss = \"10%\"
burst = 4

[[phase]]
after = \"10s\"
partition = true
direction = \"to-client\"
";

    #[test]
    fn phases_follow_one_another_and_repeat() {
        let schedule = parse(GOOD).expect("it is right");
        let at = |seconds| schedule.at(Duration::from_secs(seconds));
        assert_eq!(at(4), None);
        let (number, both) = at(5).expect("the first");
        assert_eq!((number, both.to_client), (1, both.to_target));
        assert_eq!(both.to_target.burst, Some(4.0));
        assert_eq!(both.to_target.delay, Duration::from_millis(1), "the option still applies");
        let (number, both) = at(19).expect("the second");
        assert_eq!((number, both.to_target.partition, both.to_client.partition), (2, false, true));
        assert_eq!(both.to_target.burst, None, "a phase does not add to the one before");
        assert_eq!(at(24), None);
        assert_eq!(at(45).map(|(number, _)| number), Some(1));
        let until_next = |seconds| schedule.until_next(Duration::from_secs(seconds));
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(
            [0, 5, 7, 12, 41].map(until_next),
            [seconds(5), seconds(5), seconds(3), seconds(8), seconds(4)]
        );
    }

    #[test]
    fn an_error_names_the_line_and_the_key() {
        for (from, to, parts) in [
            ("loss", "los", &["line 5", "`los`", "loss, burst"][..]),
            ("10%", "110%", &["line 5", "`loss`", "110%"]),
            ("\"5s\"", "\"5x\"", &["line 4", "`after`", "unit"]),
            ("after = \"5s\"\n", "", &["line 3", "`after`"]),
            ("10s", "5s", &["line 8", "`after`", "grow"]),
            ("20s", "10s", &["line 1", "`repeat`", "later"]),
            ("to-client", "back", &["line 11", "`direction`", "to-target"]),
            ("true", "[1]", &["line 10", "`partition`", "array"]),
            ("repeat", "rpeat", &["line 1", "`rpeat`", "phase"]),
            ("burst = 4", "burst = ", &["line 6"]),
            ("loss = \"10%\"\nburst = 4", "loss = \"90%\"\nburst = 4", &["line 3", "`burst`", "9.00"]),
        ] {
            let text = GOOD.replacen(from, to, 1);
            let error = parse(&text).expect_err(to);
            assert!(parts.iter().all(|part| error.contains(part)), "{to}: {error}");
        }
        for text in ["", "phase = 3", "[phase]\nafter = \"5s\""] {
            assert!(parse(text).expect_err(text).contains("line 1: "));
            assert!(parse(text).expect_err(text).contains("[[phase]]"));
        }
    }
}

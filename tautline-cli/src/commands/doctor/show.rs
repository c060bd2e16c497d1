//! Formats the findings as text for a terminal of 80 columns, and as JSON.

use std::fmt::Write;

use tautline::{PartOutcome, PartReport};

use super::findings::Findings;
use super::machine::Machine;
use super::measure::Lateness;
use super::options::SocketOptions;
use super::verdict::{Fitness, Verdict};
use crate::tools::latency::{Percentiles, show_maybe, show_us};
use crate::tools::output::{self, BAD, BOLD, FAINT, GOOD, Styled};
use crate::tools::words::wrapped;

/// The largest width of the text in columns.
const COLUMNS: usize = 80;

/// The width that is left beside so many columns.
fn beside(taken: usize) -> usize {
    output::columns().unwrap_or(COLUMNS).min(COLUMNS).saturating_sub(taken)
}

/// The column in which the values begin.
const INDENT: usize = 20;

pub(super) fn json(findings: &Findings) -> String {
    serde_json::to_string(findings).expect("numbers and text are JSON") + "\n"
}

pub(super) fn text(findings: &Findings) -> String {
    let mut text = String::new();
    heading(&mut text, "Machine");
    machine(&mut text, &findings.machine);
    heading(&mut text, "\nReal-time profile");
    findings.profile.parts().iter().for_each(|part| show_part(&mut text, part));
    heading(&mut text, "\nSocket");
    socket(&mut text, &findings.socket);
    if !findings.latency.is_empty() {
        latency(&mut text, findings);
    }
    verdict(&mut text, findings);
    text
}

fn heading(text: &mut String, title: &str) {
    let (space, title) = title.strip_prefix('\n').map_or(("", title), |title| ("\n", title));
    let _ = writeln!(text, "{space}{}", Styled(BOLD, title));
}

fn machine(text: &mut String, machine: &Machine) {
    let known = |found: &Option<String>| found.clone().unwrap_or_else(|| "not known".to_owned());
    let kind = if machine.preempt_rt { "PREEMPT_RT" } else { "not PREEMPT_RT" };
    let place = match machine.is_virtual {
        Some(true) => ", in a virtual machine",
        _ => "",
    };
    row(text, "kernel", &format!("{}, {kind}{place}", known(&machine.kernel)));
    let isolated = match machine.isolated.as_deref() {
        Some("") => "none isolated".to_owned(),
        Some(isolated) => format!("isolated: {isolated}"),
        None => "isolation not known".to_owned(),
    };
    row(text, "cores", &format!("{}, {isolated}", known(&machine.cores)));
    row(text, "governor", &known(&machine.governors));
    let state = |state: &super::machine::IdleState| match state.exit_us {
        Some(us) => format!("{} ({us} µs)", state.name),
        None => state.name.clone(),
    };
    let states: Vec<String> = machine.idle_states.iter().map(state).collect();
    row(text, "idle states", &if states.is_empty() { "not known".to_owned() } else { states.join(", ") });
    row(text, "clock", &known(&machine.clock_source));
    if let Some(percent) = machine.realtime_share_percent {
        row(text, "real-time share", &format!("at most {percent:.0} % of each second"));
    }
}

/// Appends a name and its value, wrapped to the width of the text.
fn row(text: &mut String, name: &str, value: &str) {
    let mut name = name;
    for line in wrapped(value, beside(INDENT)) {
        let _ = writeln!(text, "  {name:<width$}{line}", width = INDENT - 2);
        name = "";
    }
}

/// The width of the column with `granted`, `refused` and so on.
const OUTCOME: usize = 9;

fn show_part(text: &mut String, report: &PartReport) {
    let name = report.part.name();
    match &report.outcome {
        PartOutcome::Granted { granted } => outcome(text, name, &Styled(GOOD, "granted"), granted),
        PartOutcome::Refused { problem, remedy } => {
            outcome(text, name, &Styled(BAD, "refused"), problem);
            outcome(text, "", &Styled(BOLD, "remedy "), remedy);
        }
        PartOutcome::Pending => outcome(text, name, &Styled(FAINT, "pending"), ""),
        _ => outcome(text, name, &Styled(FAINT, "not set"), ""),
    }
}

fn outcome(text: &mut String, name: &str, word: &Styled<&str>, value: &str) {
    for (index, line) in wrapped(value, beside(INDENT + OUTCOME)).iter().enumerate() {
        let line = match index {
            0 => format!("  {name:<width$}{word}  {line}", width = INDENT - 2),
            _ => format!("{:indent$}{line}", "", indent = INDENT + OUTCOME),
        };
        let _ = writeln!(text, "{}", line.trim_end());
    }
}

fn socket(text: &mut String, socket: &SocketOptions) {
    let named = |wanted: bool| -> String {
        let names: Vec<&str> = socket
            .named()
            .into_iter()
            .filter(|(_, has)| *has == Some(wanted))
            .map(|(name, _)| name)
            .collect();
        names.join(", ")
    };
    for (title, names) in [("supported", named(true)), ("not supported", named(false))] {
        if !names.is_empty() {
            row(text, title, &names);
        }
    }
    for (title, limit) in [("rmem_max", socket.rmem_max), ("wmem_max", socket.wmem_max)] {
        if let Some(bytes) = limit {
            row(text, title, &format!("{bytes} bytes"));
        }
    }
}

fn latency(text: &mut String, findings: &Findings) {
    let title = format!("Lateness at {} Hz", findings.measured_rate_hz);
    if beside(0) < TABLE {
        heading(text, &format!("\n{title}"));
        for found in &findings.latency {
            row(text, found.setup, &format!("{} samples", found.samples));
            for (what, percentiles) in lateness(found) {
                row(text, "", &format!("{what}: {}", percentiles.line()));
            }
        }
        return;
    }
    let _ = writeln!(
        text,
        "\n{}{:>9}{:>10}{:>10}{:>10}",
        Styled(BOLD, format!("{title:<38}")),
        "p50",
        "p99",
        "p99.9",
        "max"
    );
    findings.latency.iter().for_each(|found| setup(text, found));
}

/// The width of the table of latenesses.
const TABLE: usize = 78;

fn lateness(found: &Lateness) -> [(&'static str, Percentiles); 3] {
    [("timer", found.timer_us), ("wake-up", found.wake_up_us), ("both", found.together_us)]
}

fn setup(text: &mut String, found: &Lateness) {
    let samples = format!("{} samples", found.samples);
    let names = [found.setup, &samples, ""];
    for (name, (what, Percentiles { p50, p99, p999, max, .. })) in names.into_iter().zip(lateness(found)) {
        let [p50, p99, p999, max] = [p50, p99, p999, max].map(show_maybe);
        let _ = writeln!(text, "  {name:<18}{what:<18}{p50:>9}{p99:>10}{p999:>10}{max:>10}");
    }
}

fn verdict(text: &mut String, findings: &Findings) {
    heading(text, "\nVerdict");
    if findings.interrupted {
        row(text, "none", "interrupted before all measurements were done");
    }
    if let Some(verdict) = &findings.verdict {
        judgement(text, verdict, findings.measured_rate_hz);
    }
    if let Some(rate) = findings.fit_up_to_hz {
        row(text, "fit up to", &format!("{rate:.0} Hz ({})", setup_name(findings)));
    }
    let refused = findings.profile.refused().count();
    if refused > 0 {
        row(text, "refused", &format!("{refused} parts of the profile; see the remedies above"));
    }
}

fn setup_name(findings: &Findings) -> &'static str {
    findings.latency.last().map_or("", |found| found.setup)
}

fn judgement(text: &mut String, verdict: &Verdict, measured_rate_hz: f64) {
    let Verdict { rate_hz, p999_us, share_percent, verdict: fitness, samples, setup, .. } = verdict;
    let style = if *fitness == Fitness::Unfit { BAD } else { GOOD };
    let word = Styled(style, fitness.to_string());
    let _ = writeln!(
        text,
        "  {:<width$}{word}: timer and wake-up take at most {},",
        format!("{rate_hz} Hz"),
        show_us(*p999_us),
        width = INDENT - 2
    );
    row(
        text,
        "",
        &format!(
            "{share_percent} % of the period, in 99.9 % of {samples} samples at {measured_rate_hz} Hz \
             ({setup}; fit: 20 %, tight: 50 %)"
        ),
    );
}

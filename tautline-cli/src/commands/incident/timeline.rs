//! Draws the last seconds of a black box: a page with one picture, which needs nothing else.

use super::causes::{self, Cause};
use super::story::{At, Story, WINDOW};
use super::words::told;
use crate::tools::svg::{Anchor, Area, Scale, Svg, escaped, short};

const WIDTH: f64 = 1_000.0;
const LEFT: f64 = 190.0;
/// The label of the last tick goes beyond it.
const RIGHT: f64 = WIDTH - 22.0;
const LANE: f64 = 56.0;
const TOP: f64 = 40.0;

/// The number of bars.
const BARS: usize = 200;

/// How long the picture goes on after the cause.
const AFTER: u64 = 500_000_000;

/// The most events that are listed.
const MOST_EVENTS: usize = 200;

/// What a lane shows, and its values with their times. The bar shows the sum of its values, or the largest.
pub(super) struct Lane {
    pub(super) name: String,
    pub(super) values: Vec<(At, f64)>,
    pub(super) is_sum: bool,
    pub(super) unit: &'static str,
}

/// Returns the page.
pub(super) fn page(story: &Story, found: &[Cause]) -> String {
    let events = story
        .events
        .iter()
        .filter(|(at, _)| story.is_near(*at))
        .take(MOST_EVENTS)
        .map(|(at, event)| format!("{}: {}", story.when(*at), told(event)));
    document(
        &format!("{}{}", story.doubt(), story.heading()),
        &causes::told(story, found),
        &picture(&lanes(story), story.cause_at, story.cause()),
        &[("What came last", story.last_things()), ("Events", events.collect())],
    )
}

/// A page with one picture and lists.
pub(super) fn document(
    heading: &str,
    found: &[String],
    picture: &str,
    lists: &[(&str, Vec<String>)],
) -> String {
    let items =
        |lines: &[String]| lines.iter().map(|line| format!("<li>{}</li>", escaped(line))).collect::<String>();
    let lists: String =
        lists.iter().map(|(title, lines)| format!("<h2>{title}</h2><ul>{}</ul>\n", items(lines))).collect();
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>Incident</title><style>{STYLE}</style>\n<h1>Incident</h1><p>{}</p>\n<h2>What went wrong</h2><ul>{}</ul>\n<div class=\"wide\">{picture}</div>\n\
         {lists}</html>\n",
        escaped(heading),
        items(found),
    )
}

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:1000px;margin:2em auto;padding:0 1em;color:#222;\
    background:#fff}.wide{overflow-x:auto}svg{width:100%;min-width:700px;height:auto}.page{fill:none}.bar{fill:#2a6fb0}.loss{fill:#c0392b}text{font-size:12px;\
    fill:#444}.axis{stroke:#bbb}.cause{stroke:#c0392b;stroke-width:2}@media(prefers-color-scheme:dark){body{color:#ddd;\
    background:#181818}text{fill:#bbb}.axis{stroke:#555}.bar{fill:#6aa9e0}}";

fn lanes(story: &Story) -> [Lane; 6] {
    let received = story.received.iter().map(|received| (received.at, 1.0)).collect();
    let sent = story.sent.iter().map(|(at, _, count)| (*at, *count as f64)).collect();
    let lost = story.gaps().into_iter().map(|(at, _, missing)| (at, missing as f64)).collect();
    let dropped = story.dropped.iter().map(|(at, ..)| (*at, 1.0)).collect();
    let waited =
        story.received.iter().map(|received| (received.at, received.in_kernel as f64 / 1e6)).collect();
    let busy = story.busy.iter().map(|(at, busy)| (*at, *busy as f64 / 1e6)).collect();
    let lane = |name: &str, values, is_sum, unit| Lane { name: name.to_owned(), values, is_sum, unit };
    [
        lane("datagrams received", received, true, ""),
        lane("datagrams sent", sent, true, ""),
        lane("lost on the way", lost, true, ""),
        lane("dropped here", dropped, true, ""),
        lane("wait in the kernel", waited, false, " ms"),
        lane("driver busy", busy, false, " ms"),
    ]
}

/// Draws the lanes around the cause.
pub(super) fn picture(lanes: &[Lane], cause_at: At, cause: &str) -> String {
    let height = TOP + LANE * lanes.len() as f64 + 30.0;
    let mut svg = Svg::new(WIDTH, height, "");
    let seconds = |ns: u64| ns as f64 / 1e9;
    let scale = Scale::new((-seconds(WINDOW), seconds(AFTER)), (LEFT, RIGHT));
    for (index, lane) in lanes.iter().enumerate() {
        draw(&mut svg, cause_at, lane, TOP + LANE * index as f64);
    }
    let bottom = height - 30.0;
    for tick in scale.ticks(7.0) {
        svg.line("axis", (scale.at(tick), bottom), (scale.at(tick), bottom + 5.0));
        svg.text("", (scale.at(tick), bottom + 18.0), Anchor::Middle, &format!("{} s", short(tick)));
    }
    svg.line("cause", (scale.at(0.0), TOP - 18.0), (scale.at(0.0), bottom));
    svg.text("", (scale.at(0.0), TOP - 24.0), Anchor::Middle, cause);
    svg.finish()
}

fn draw(svg: &mut Svg, cause_at: At, lane: &Lane, top: f64) {
    let begin = cause_at.saturating_sub(WINDOW);
    let span = (WINDOW + AFTER) as f64;
    let mut bars = [0.0_f64; BARS];
    for (at, value) in &lane.values {
        let place = at.checked_sub(begin).map(|since| since as f64 / span * BARS as f64);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a small positive number
        if let Some(bar) = place.and_then(|place| bars.get_mut(place as usize)) {
            *bar = if lane.is_sum { *bar + value } else { bar.max(*value) };
        }
    }
    let most = bars.iter().copied().fold(0.0, f64::max);
    let base = top + LANE - 8.0;
    svg.text("", (LEFT - 10.0, base - 12.0), Anchor::End, &lane.name);
    svg.text("", (LEFT - 10.0, base + 2.0), Anchor::End, &format!("at most {}{}", short(most), lane.unit));
    svg.line("axis", (LEFT, base), (RIGHT, base));
    let width = (RIGHT - LEFT) / BARS as f64;
    let class = if lane.name.contains("lost") || lane.name.contains("dropped") { "loss" } else { "bar" };
    for (index, bar) in bars.iter().enumerate().filter(|(_, bar)| **bar > 0.0) {
        let height = (LANE - 14.0) * bar / most;
        svg.rectangle(class, Area { left: LEFT + width * index as f64, top: base - height, width, height });
    }
}

//! The runner's command line.

use std::path::PathBuf;

use crate::kinds::{KINDS, Kind, SMOKE};
use crate::peers::{CONTESTANTS, Contestant};

const HELP: &str = "\
usage: bench/run [--smoke] [--rounds N] [--print] [--only TABLE] [--peer NAME] [--plots DIR]
  --smoke       check that it runs: the raw socket and tautline only, a fraction of a second per table
  --rounds N    measure this many rounds, 1 to 100 (default 5), after a warm-up round that does not count
  --print       print the tables and do not change docs/ and README.md (every other option except --rounds implies this)
  --only TABLE  only the tables whose names begin with TABLE: ping-pong, busy-neighbour, paced, throughput-64,
                throughput-256, throughput-1400, sizes, reliable, many-peers, idle-peers, connecting, unpinned,
                unpinned-paced; you can repeat this option
  --peer NAME   only the contestants whose names begin with NAME, and the raw socket; you can repeat this option
  --plots DIR   write the plots to this folder";

const ROUNDS: usize = 5;
const MAX_ROUNDS: usize = 100;

/// The options of the runner.
#[derive(Debug, Default)]
pub(crate) struct Options {
    pub(crate) is_smoke: bool,
    pub(crate) rounds: usize,
    pub(crate) only_prints: bool,
    pub(crate) plots: Option<PathBuf>,
    /// The beginnings of the names of the wanted tables. Empty means all tables; the same holds for `peers`.
    tables: Vec<String>,
    peers: Vec<String>,
}

impl Options {
    pub(crate) fn parse(arguments: &[String]) -> Result<Self, String> {
        let mut options = Self { rounds: ROUNDS, ..Self::default() };
        let mut left = arguments.iter();
        while let Some(argument) = left.next() {
            match argument.as_str() {
                "--smoke" => (options.is_smoke, options.rounds) = (true, 1),
                "--print" => {}
                "--rounds" => {
                    let count = left.next().and_then(|text| text.parse().ok());
                    let valid = count.filter(|count| (1..=MAX_ROUNDS).contains(count));
                    options.rounds = valid.ok_or(HELP)?;
                    continue;
                }
                "--plots" => options.plots = Some(left.next().ok_or(HELP)?.into()),
                "--only" => options.tables.push(left.next().ok_or(HELP)?.clone()),
                "--peer" => options.peers.push(left.next().ok_or(HELP)?.clone()),
                _ => return Err(HELP.to_owned()),
            }
            options.only_prints = true;
        }
        options.refuse_unknown_names()?;
        Ok(options)
    }

    fn refuse_unknown_names(&self) -> Result<(), String> {
        let is_table = |name: &&String| KINDS.iter().any(|kind| kind.name().starts_with(*name));
        let is_peer = |name: &&String| CONTESTANTS.iter().any(|peer| begins(peer.name, name));
        let unknown = self.tables.iter().find(|name| !is_table(name));
        match unknown.or_else(|| self.peers.iter().find(|name| !is_peer(name))) {
            Some(name) => Err(format!("{name}: no such table or peer\n{HELP}")),
            None => Ok(()),
        }
    }

    /// Whether every table is wanted.
    pub(crate) fn has_every_table(&self) -> bool {
        self.tables.is_empty() && !self.is_smoke
    }

    /// Returns the kinds of the wanted tables.
    pub(crate) fn kinds(&self) -> Vec<Kind> {
        let all = if self.is_smoke { SMOKE } else { KINDS };
        let is_wanted = |kind: &&Kind| {
            self.tables.is_empty() || self.tables.iter().any(|name| kind.name().starts_with(name))
        };
        all.iter().filter(is_wanted).copied().collect()
    }

    /// Whether `contestant` is measured in `kind`.
    pub(crate) fn wants(&self, contestant: &Contestant, kind: Kind) -> bool {
        let is_named = |name: &String| begins(contestant.name, name);
        contestant.takes_part(kind)
            && (!self.is_smoke || contestant.in_smoke)
            && (self.peers.is_empty() || contestant.is_reference(kind) || self.peers.iter().any(is_named))
    }
}

fn begins(name: &str, beginning: &str) -> bool {
    name.to_lowercase().starts_with(&beginning.to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, String> {
        Options::parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    fn peers(options: &Options, kind: Kind) -> Vec<&'static str> {
        let wanted = CONTESTANTS.iter().filter(|contestant| options.wants(contestant, kind));
        wanted.map(|contestant| contestant.name).collect()
    }

    #[test]
    fn the_reference_is_always_measured() {
        let options = parse("--peer enet --only throughput").unwrap();
        assert!(options.only_prints);
        assert_eq!(options.kinds().len(), 3);
        assert_eq!(peers(&options, options.kinds()[0]), ["raw", "ENet"]);
    }

    #[test]
    fn only_a_complete_run_changes_the_docs() {
        assert!(!parse("--rounds 7").unwrap().only_prints);
        for line in ["--print", "--smoke", "--only paced", "--peer raw"] {
            assert!(parse(line).unwrap().only_prints, "{line}");
        }
    }

    #[test]
    fn a_smoke_run_has_only_raw_and_tautline() {
        let options = parse("--smoke").unwrap();
        for kind in options.kinds() {
            let names = peers(&options, kind);
            assert!(!names.is_empty());
            assert!(names.iter().all(|name| name.starts_with("raw") || name.starts_with("tautline")));
        }
    }

    #[test]
    fn invalid_options_are_refused() {
        for line in ["--rounds 0", "--rounds", "--only", "--only nothing", "--peer nobody", "--fast"] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}

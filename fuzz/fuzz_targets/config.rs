//! Text as TOML, as environment and as single keys: it is read or refused with a reason, and means the same each time.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tautline::{Config, ConfigError};

fuzz_target!(|text: &str| {
    check(Config::from_toml(text));
    let pairs = || text.lines().filter_map(|line| line.split_once('='));
    check(Config::default().apply_variables(pairs().map(|(key, value)| (format!("TAUTLINE_{key}"), value))));
    let mut config = Config::default();
    for (key, value) in pairs() {
        let before = format!("{config:?}");
        if let Err(error) = config.set(key, value) {
            explain(&error);
            assert_eq!(format!("{config:?}"), before, "what was refused changed something");
        }
    }
    check(Ok(config));
});

fn check(read: Result<Config, ConfigError>) {
    match read.and_then(|config| config.settings().map(|settings| (config, settings))) {
        Ok((config, settings)) => {
            assert_eq!(config.validate(), Ok(()));
            let again = config.settings().expect("as before");
            assert_eq!(format!("{again:?}"), format!("{settings:?}"));
        }
        Err(error) => explain(&error),
    }
}

/// An error says something, and no more than fits a page, whatever it was given.
fn explain(error: &ConfigError) {
    let text = error.to_string();
    assert!(!text.is_empty());
}

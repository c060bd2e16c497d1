//! Reads text as TOML, as environment variables and as single keys. The text is read or refused with a reason, with the same
//! result each time.
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
            assert_eq!(format!("{config:?}"), before, "a refused value changed the configuration");
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

/// Checks that an error has a text.
fn explain(error: &ConfigError) {
    let text = error.to_string();
    assert!(!text.is_empty());
}

//! Settings from TOML text, from environment variables and from code. A later source overrides an earlier one.
//!
//! `cargo run -p tautline --features toml --example from_configuration`
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::error::Error;
use std::time::Duration;

use tautline::{Config, MessageType, create_udp_server};

const FILE: &str = r#"
role = "server"
endpoint = "127.0.0.1:0"
profile = "control"
liveness_timeout = "250ms"

[command]
deadline = "20ms"
"#;

/// Runs the example.
pub(crate) fn main() -> Result<(), Box<dyn Error>> {
    // Your program would write Config::from_toml_file("plant.toml")?.apply_env()?
    let config = Config::from_toml(FILE)?
        .apply_variables([("TAUTLINE_MAX_PEERS", "4"), ("TAUTLINE_COMMAND_LIFESPAN", "10ms")])?
        .name("plant")
        // A file cannot hold what the profile demands: what happens when commands stop.
        .failsafe(|event| eprintln!("{}: {:?}", event.watched, event.change));
    let settings = config.settings()?;
    assert_eq!((settings.max_peers, settings.liveness_timeout), (4, Duration::from_millis(250)));
    let commands = settings.streams.of(MessageType::Command, 0);
    assert_eq!(commands.lifespan, Some(Duration::from_millis(10)));
    assert_eq!(commands.deadline, Some(Duration::from_millis(20)));

    // An error names the key and says what would be right.
    let error = Config::from_toml("heartbeat_intervall = \"10ms\"").expect_err("a typing error");
    println!("{error}");

    let plant = create_udp_server(config)?;
    plant.connect()?;
    println!("{} listens at {}", settings.name, plant.local_address().ok_or("the server is not connected")?);
    Ok(())
}

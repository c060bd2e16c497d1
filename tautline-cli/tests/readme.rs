//! The commands in the README and in docs/incidents.md do what the pages say.

use std::path::Path;
use std::process::{Command, Output};

use tautline::{Config, Metadata, create_udp_client, create_udp_server};

fn page(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name)).unwrap()
}

/// Returns the command lines of the README's shell blocks, without comments.
fn commands() -> Vec<String> {
    commands_of(&page("README.md"))
}

fn commands_of(page: &str) -> Vec<String> {
    let blocks = page.split("```sh\n").skip(1).map(|block| block.split("```").next().unwrap().to_owned());
    blocks.flat_map(|block| block.lines().map(without_comment).collect::<Vec<_>>()).collect()
}

fn without_comment(line: &str) -> String {
    line.split(" #").next().unwrap().trim().to_owned()
}

/// Returns the words after the program's name, split as a shell does. `None` if it is another program.
fn arguments(command: &str) -> Option<Vec<String>> {
    let rest =
        command.strip_prefix("tautline ").or_else(|| command.strip_prefix("cargo run --release -- "))?;
    let mut quoted = false;
    let mut words = vec![String::new()];
    for character in rest.chars() {
        match character {
            '\'' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            _ => words.last_mut().unwrap().push(character),
        }
    }
    words.retain(|word| !word.is_empty());
    Some(words)
}

fn run(arguments: &[String], folder: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tautline")).args(arguments).current_dir(folder).output().unwrap()
}

fn demo(wanted: &str) {
    let command = commands().into_iter().find(|command| command.contains(wanted)).expect("in the README");
    let folder =
        std::env::temp_dir().join(format!("tautline-readme-{}-{}", wanted.len(), std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let output = run(&arguments(&command).expect("the program's command"), &folder);
    let picture = std::fs::read_to_string(folder.join("tautline-demo.svg"));
    std::fs::remove_dir_all(&folder).unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    // A busy machine may give exit code 4. The README only says that the demo runs and draws.
    assert!(matches!(output.status.code(), Some(0 | 4)), "{output:?}");
    assert!(text.contains("round trip"), "{text}");
    assert!(picture.expect("the picture is there").contains("<svg"));
}

#[test]
fn the_first_command_shows_the_pendulum() {
    demo("demo --seconds 5");
}

#[test]
fn the_second_command_cuts_the_controller_off() {
    demo("--cut-after");
}

#[test]
fn every_command_of_the_program_is_accepted() {
    let mut understood = 0;
    for mut words in commands().iter().filter_map(|command| arguments(command)) {
        // clap reports a wrong option before it prints the help.
        words.push("--help".to_owned());
        let output = run(&words, &std::env::temp_dir());
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        understood += 1;
    }
    assert!(understood >= 6, "only {understood} commands found");
}

#[test]
fn the_check_command_exists() {
    assert!(commands().iter().any(|command| command == "./check"));
    assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join("../check").exists());
}

#[test]
fn every_link_in_the_readme_leads_to_a_file() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    let targets: Vec<_> = readme.split("](").skip(1).filter_map(|rest| rest.split(')').next()).collect();
    assert!(targets.len() > 20, "only {} links found", targets.len());
    for target in targets.into_iter().filter(|target| !target.contains("://")) {
        let file = target.split('#').next().unwrap();
        assert!(root.join(file).exists(), "README.md links to {target}, which does not exist");
    }
}

#[test]
fn the_commands_of_the_page_about_incidents_work_on_a_link_with_default_settings() {
    let folder = std::env::temp_dir().join(format!("tautline-incidents-{}", std::process::id()));
    let with_box = |config: Config, name| config.name(name).black_box("1MiB").black_box_dir(&folder);
    let plant = create_udp_server(with_box(Config::server("127.0.0.1:0"), "plant")).unwrap();
    plant.connect().unwrap();
    let address = plant.local_address().unwrap().to_string();
    let controller = create_udp_client(with_box(Config::client(&address), "controller")).unwrap();
    controller.connect().unwrap();
    controller.send(&[0.5], &Metadata::command()).unwrap();
    std::fs::create_dir_all(folder.join("incidents")).unwrap();
    for (end, name) in [(&plant, "plant.mcap"), (&controller, "controller.mcap")] {
        std::fs::rename(end.dump().unwrap(), folder.join(name)).unwrap();
    }
    std::fs::copy(folder.join("plant.mcap"), folder.join("incidents/plant-1.mcap")).unwrap();

    let page = page("docs/incidents.md");
    let lines = commands_of(&page).into_iter().filter(|line| line.starts_with("tautline incident "));
    let mut lines: Vec<_> = lines.map(|line| line.replace("plant-*.mcap", "plant-1.mcap")).collect();
    assert!(lines.len() >= 5, "{lines:?}");
    let settings = page.split("\n\n").find(|text| text.starts_with("`--what-if KEY=VALUE`")).unwrap();
    let examples = settings.split('`').skip(3).step_by(2).filter(|code| code.contains('='));
    lines.extend(examples.map(|code| format!("tautline incident plant.mcap --what-if {code}")));
    assert!(lines.len() >= 10, "{lines:?}");
    for line in lines {
        let output = run(&arguments(&line).expect("the program's command"), &folder);
        assert!(output.status.success(), "{line}: {output:?}");
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

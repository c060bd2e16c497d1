//! Prints the public interface that a rustdoc JSON file describes, one item a line. `run` calls it.
//!
//! The implementations that the compiler or a derive adds are left out.

use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(file) = std::env::args_os().nth(1) else {
        eprintln!("expected the path of a rustdoc JSON file");
        return ExitCode::from(2);
    };
    let interface = public_api::Builder::from_rustdoc_json(file)
        .omit_blanket_impls(true)
        .omit_auto_trait_impls(true)
        .omit_auto_derived_impls(true)
        .build();
    match interface {
        Ok(interface) => {
            print!("{interface}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

//! The `runner` program: reads the command line and hands over to one file per command in `cli/`.

#![recursion_limit = "256"]

fn main() {
    std::process::exit(runner::cli::main());
}

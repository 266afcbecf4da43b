//! `runner report`: draws a results directory's tables, plots and page again.

use std::path::Path;

/// Exit code 0 if drawn, 1 otherwise.
pub fn report(dir: &Path) -> i32 {
    let drawn = match dir.join("suite.toml").exists() {
        true => crate::suite::draw::draw(dir).map(|_| ()),
        false => crate::report::draw(dir),
    };
    match drawn {
        Ok(()) => {
            println!("{}", dir.join("report.html").display());
            0
        }
        Err(e) => {
            eprintln!("error: {}", super::chain(&e));
            1
        }
    }
}

//! `runner schema [--check]`: writes or checks `schemas/*.json`, which are made from the Rust types.

use crate::schemas::{check_schemas, schemas, write_schemas};
use std::path::Path;

/// Works on `./schemas`; the exit code: 0 done, 1 out of date or not writable.
pub fn schema(check: bool) -> i32 {
    let dir = Path::new("schemas");
    let result = if check {
        check_schemas(dir)
    } else {
        write_schemas(dir).map_err(|error| format!("cannot write {}: {error}", dir.display()))
    };
    match result {
        Ok(()) => {
            let verb = if check { "up to date" } else { "written" };
            eprintln!(
                "{verb}: {}",
                schemas().iter().map(|(name, _)| dir.join(name).display().to_string()).collect::<Vec<_>>().join(", ")
            );
            0
        }
        Err(message) => {
            eprintln!("error: {message}");
            1
        }
    }
}

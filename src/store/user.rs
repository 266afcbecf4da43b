//! The user's own folders outside results: what the program keeps between runs and can make again.

use std::path::PathBuf;

/// A variable of the environment that names a folder; an empty one names none.
pub fn folder_of(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// `runner` in the user's configuration directory: `XDG_CONFIG_HOME`, else `~/.config`. `None` without a home directory.
pub fn config() -> Option<PathBuf> {
    let home = || Some(std::env::home_dir()?.join(".config"));
    Some(folder_of("XDG_CONFIG_HOME").or_else(home)?.join("runner"))
}

/// `runner` in the user's cache directory: `XDG_CACHE_HOME`, on Windows `LOCALAPPDATA`, else `~/.cache`. `None` without
/// a home directory.
pub fn cache() -> Option<PathBuf> {
    let caches = folder_of("XDG_CACHE_HOME").or_else(|| folder_of("LOCALAPPDATA"));
    let caches = caches.or_else(|| Some(std::env::home_dir()?.join(".cache")));
    Some(caches?.join("runner"))
}

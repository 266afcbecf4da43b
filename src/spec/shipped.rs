//! The specs that the program has inside: all of `specs/`, with the model that the quickstart starts from. Where a spec
//! is named that is not there, the one inside is meant, and unpacked into the user's cache.

use crate::store::atomic::write_atomic;
use crate::store::user;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::OnceLock;

/// Every file of `specs/` by its path in there (made by build.rs).
static FILES: &[(&str, &[u8])] = &include!(concat!(env!("OUT_DIR"), "/specs.rs"));

/// The specs and suites, by their path in `specs/`; those in a folder are for others to extend.
pub fn names() -> impl Iterator<Item = &'static str> {
    FILES.iter().map(|(name, _)| *name).filter(|name| name.ends_with(".toml") && !name.contains('/'))
}

/// The file inside that a path means: `quickstart`, `quickstart.toml`, `specs/quickstart.toml`, `base/mock.toml`.
pub fn meant(path: &Path) -> Option<&'static str> {
    let mut parts = Vec::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::Normal(part) => parts.push(part.to_str()?),
            // A place of its own, which is not ours.
            _ => return None,
        }
    }
    if parts.first() == Some(&"specs") && parts.len() > 1 {
        parts.remove(0);
    }
    let name = parts.join("/");
    let all = FILES.iter().map(|(name, _)| *name).filter(|name| name.ends_with(".toml"));
    all.into_iter().find(|known| *known == name || known.strip_suffix(".toml") == Some(&name))
}

/// What is at `path`; where there is nothing, the file inside that it means, if it means one.
pub fn located(path: &Path) -> io::Result<PathBuf> {
    match meant(path) {
        Some(name) if !path.is_file() => Ok(folder()?.join(name)),
        _ => Ok(path.to_owned()),
    }
}

/// A file that another in `dir` names: beside it, else the one inside that is meant.
pub fn beside(dir: &Path, written: &Path) -> PathBuf {
    let here = dir.join(written);
    match meant(written) {
        // Without a cache to unpack into, the reader says that there is nothing here.
        Some(name) if !here.is_file() => folder().map_or(here, |folder| folder.join(name)),
        _ => here,
    }
}

/// The folder into which all files are unpacked: `runner/specs-HASH` in the user's cache, the same for the same files.
pub fn folder() -> io::Result<PathBuf> {
    let none = "there is no home directory to unpack the program's specs into; set XDG_CACHE_HOME";
    unpack(&user::cache().ok_or_else(|| io::Error::other(none))?)
}

fn unpack(cache: &Path) -> io::Result<PathBuf> {
    let dir = cache.join(format!("specs-{}", hash()));
    for (name, bytes) in FILES {
        let path = dir.join(name);
        // A file is written whole or not at all; one of another length was changed by somebody.
        if !std::fs::metadata(&path).is_ok_and(|m| m.len() == bytes.len() as u64) {
            write_atomic(&path, bytes).map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", path.display())))?;
        }
    }
    Ok(dir)
}

/// Of all names and contents.
fn hash() -> &'static str {
    static HASH: OnceLock<String> = OnceLock::new();
    HASH.get_or_init(|| {
        let mut hasher = blake3::Hasher::new();
        for (name, bytes) in FILES {
            hasher.update(name.as_bytes()).update(&(bytes.len() as u64).to_le_bytes()).update(bytes);
        }
        hasher.finalize().to_hex()[..12].to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_without_a_clone_mean_the_specs_inside() {
        for path in ["quickstart", "quickstart.toml", "specs/quickstart.toml", "./specs/quickstart.toml"] {
            assert_eq!(meant(Path::new(path)), Some("quickstart.toml"), "{path}");
        }
        assert_eq!(meant(Path::new("base/mock.toml")), Some("base/mock.toml"));
        for path in [
            "qickstart",
            "mine/quickstart.toml",
            "../quickstart.toml",
            "/tmp/quickstart.toml",
            "storyworld/config.json",
            "",
        ] {
            assert_eq!(meant(Path::new(path)), None, "{path}");
        }
        assert!(names().any(|name| name == "paper.toml") && !names().any(|name| name.contains('/')));
    }

    #[test]
    fn the_files_inside_are_those_of_the_folder_and_changed_ones_are_made_good() {
        let cache = tempfile::tempdir().unwrap();
        let dir = unpack(cache.path()).unwrap();
        for (name, bytes) in FILES {
            assert_eq!(std::fs::read(dir.join(name)).unwrap(), *bytes, "{name}");
            let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("specs").join(name);
            assert_eq!(std::fs::read(here).unwrap(), *bytes, "{name}");
        }
        std::fs::write(dir.join("quickstart.toml"), "short").unwrap();
        assert_eq!(unpack(cache.path()).unwrap(), dir);
        assert!(std::fs::metadata(dir.join("quickstart.toml")).unwrap().len() > 100);
    }
}

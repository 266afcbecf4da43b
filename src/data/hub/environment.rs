//! What the environment says of the hub, read as Python's huggingface_hub 2.4 reads it (constants.py), so that one
//! setting serves both: `~`, `$NAME` and `${NAME}` in folders, and the three variables that switch the network off.

use super::{Access, Hub, Token};
use crate::data::error::DataError;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Switch the network off for models and data sets.
const OFFLINE: [&str; 2] = ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"];
/// Switches it off for data sets alone.
const DATASETS_OFFLINE: &str = "HF_DATASETS_OFFLINE";

/// A variable's value, if it has one that is not empty.
type Variable<'a> = &'a dyn Fn(&str) -> Result<Option<String>, DataError>;

impl Hub {
    /// The hub as HF_ENDPOINT, HF_HUB_CACHE, HF_HOME, HF_TOKEN, HF_HUB_OFFLINE and their like say.
    ///
    /// # Errors
    /// A value that is no text, or a folder that cannot be told from it; the variable is named.
    pub fn from_env() -> Result<Self, DataError> {
        Self::from_variables(&|name| match std::env::var(name) {
            Ok(value) => Ok(Some(value).filter(|value| !value.is_empty())),
            Err(std::env::VarError::NotPresent) => Ok(None),
            Err(std::env::VarError::NotUnicode(value)) => {
                Err(DataError::Other(format!("{name} = {value:?} is not UTF-8 text")))
            }
        })
    }

    pub(super) fn from_variables(variable: Variable<'_>) -> Result<Self, DataError> {
        let user = || Ok(variable("HOME")?.map(PathBuf::from).or_else(std::env::home_dir));
        let folder = |name: &str| match variable(name)? {
            Some(value) => expanded(name, &value, variable).map(Some),
            None => Ok::<_, DataError>(None),
        };
        let home = match (folder("HF_HOME")?, folder("XDG_CACHE_HOME")?) {
            (Some(home), _) => Some(home),
            (None, Some(caches)) => Some(caches.join("huggingface")),
            (None, None) => user()?.map(|user: PathBuf| user.join(".cache/huggingface")),
        };
        let cache = match folder("HF_HUB_CACHE")? {
            Some(cache) => Some(cache),
            None => folder("HUGGINGFACE_HUB_CACHE")?.or_else(|| Some(home.as_ref()?.join("hub"))),
        };
        let cache = cache.ok_or_else(|| {
            DataError::Other("there is no home directory for the hub's cache; set HF_HOME to a folder".into())
        })?;
        let file = folder("HF_TOKEN_PATH")?.or_else(|| Some(home?.join("token")));
        let token = match variable("HF_TOKEN")? {
            Some(token) => Some(token),
            None => variable("HUGGING_FACE_HUB_TOKEN")?.or_else(|| std::fs::read_to_string(file?).ok()),
        };
        let endpoint = variable("HF_ENDPOINT")?.unwrap_or_else(|| "https://huggingface.co".into());
        Ok(Self {
            endpoint: endpoint.trim_end_matches('/').into(),
            // Links in the cache are relative, and the program may change its folder.
            cache: std::path::absolute(&cache).unwrap_or(cache),
            token: token.and_then(|text| Token::new(&text)),
            access: offline(variable)?.map_or(Access::Network, Access::Offline),
            datasets_offline: variable(DATASETS_OFFLINE)?.is_some_and(|v| is_true(&v)),
            progress: true,
            backoff: Duration::from_millis(500),
            stop: None,
        })
    }

    /// Whether the network may be used for a repository of this kind.
    pub(super) fn access_to(&self, kind: super::RepositoryKind) -> Access {
        match self.access {
            Access::Network if self.datasets_offline && kind == super::RepositoryKind::Dataset => {
                Access::Offline(DATASETS_OFFLINE)
            }
            access => access,
        }
    }
}

/// The variable that switches the network off. The first one that is set decides, as in huggingface_hub: with
/// HF_HUB_OFFLINE=0 TRANSFORMERS_OFFLINE does not matter.
fn offline(variable: Variable<'_>) -> Result<Option<&'static str>, DataError> {
    for name in OFFLINE {
        if let Some(value) = variable(name)? {
            return Ok(is_true(&value).then_some(name));
        }
    }
    Ok(None)
}

fn is_true(value: &str) -> bool {
    ["1", "on", "yes", "true"].contains(&value.to_ascii_lowercase().as_str())
}

/// A folder with `~`, `$NAME` and `${NAME}` filled in, which a shell leaves alone within quotes and in unit files.
fn expanded(name: &str, value: &str, variable: Variable<'_>) -> Result<PathBuf, DataError> {
    let wrong = |why: String| DataError::Other(format!("{name} = {value:?}: {why}"));
    let (start, rest) = match value.strip_prefix('~') {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => {
            let home = variable("HOME")?.or_else(|| Some(std::env::home_dir()?.to_string_lossy().into_owned()));
            (home.ok_or_else(|| wrong("there is no home directory for ~; write the folder out".into()))?, rest)
        }
        Some(_) => return Err(wrong("another user's home is not looked up; write the folder out".into())),
        None => (String::new(), value),
    };
    let (mut text, mut rest) = (start, rest);
    while let Some((before, after)) = rest.split_once('$') {
        text.push_str(before);
        let (key, following) = match after.strip_prefix('{') {
            Some(inner) => inner.split_once('}').ok_or_else(|| wrong("${ has no }".into()))?,
            None => {
                let end = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len());
                after.split_at(end)
            }
        };
        if key.is_empty() {
            // A dollar of its own is a letter like others.
            text.push('$');
        } else {
            text.push_str(&variable(key)?.ok_or_else(|| wrong(format!("the variable {key} is not set")))?);
        }
        rest = following;
    }
    text.push_str(rest);
    Ok(Path::new(&text).to_path_buf())
}

#[cfg(test)]
mod tests {
    use super::super::RepositoryKind;
    use super::*;

    fn try_hub(variables: &[(&str, &str)]) -> Result<Hub, DataError> {
        let find = |name: &str| Ok(variables.iter().find(|(n, _)| *n == name).map(|(_, v)| v.to_string()));
        Hub::from_variables(&find)
    }

    fn hub(variables: &[(&str, &str)]) -> Hub {
        try_hub(variables).unwrap()
    }

    #[test]
    fn variables_say_where_the_hub_and_its_cache_are() {
        let plain = hub(&[("XDG_CACHE_HOME", "/c")]);
        assert_eq!(plain.cache, PathBuf::from("/c/huggingface/hub"));
        assert_eq!((plain.endpoint.as_str(), plain.access), ("https://huggingface.co", Access::Network));
        assert_eq!(hub(&[("HF_HOME", "/h")]).cache, PathBuf::from("/h/hub"));
        assert_eq!(hub(&[("HF_HOME", "/h"), ("HF_HUB_CACHE", "/k")]).cache, PathBuf::from("/k"));
        let other = hub(&[("HF_ENDPOINT", "http://localhost:1/"), ("HF_HUB_OFFLINE", "1"), ("HF_TOKEN", " secret\n")]);
        assert_eq!((other.endpoint.as_str(), other.access), ("http://localhost:1", Access::Offline("HF_HUB_OFFLINE")));
        assert!(other.token.as_ref().is_some_and(|t| t.0 == "secret"));
        assert!(!format!("{other:?}").contains("secret"), "a token is never printed");
    }

    #[test]
    fn the_token_file_is_read() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("token"), "from-a-file\n").unwrap();
        let found = hub(&[("HF_HOME", &dir.path().to_string_lossy())]);
        assert!(found.token.is_some_and(|t| t.0 == "from-a-file"));
    }

    #[test]
    fn a_tilde_or_a_variable_in_hf_home_is_no_folder_of_that_name() {
        let set = [("HOME", "/home/ada"), ("DATA", "/mnt/data")];
        for (value, wanted) in [
            ("~", "/home/ada/hub"),
            ("~/x", "/home/ada/x/hub"),
            ("$HOME/x", "/home/ada/x/hub"),
            ("${DATA}/x", "/mnt/data/x/hub"),
            ("/a/$DATA", "/a//mnt/data/hub"),
            ("/a/~b/$", "/a/~b/$/hub"),
        ] {
            let variables: Vec<_> = set.into_iter().chain([("HF_HOME", value)]).collect();
            assert_eq!(hub(&variables).cache, PathBuf::from(wanted), "{value}");
        }
        for name in ["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"] {
            assert_eq!(hub(&[("HOME", "/home/ada"), (name, "~/k")]).cache, PathBuf::from("/home/ada/k"));
        }
        assert_eq!(hub(&[("HOME", "/h"), ("XDG_CACHE_HOME", "~/c")]).cache, PathBuf::from("/h/c/huggingface/hub"));
        for (value, wanted) in [("$NONE/x", "NONE is not set"), ("${DATA", "has no }"), ("~bob/x", "another user's")] {
            let message = try_hub(&[("HF_HOME", value)]).unwrap_err().to_string();
            assert!(message.contains("HF_HOME") && message.contains(wanted), "{message}");
        }
    }

    #[test]
    fn transformers_offline_and_datasets_offline_switch_the_network_off() {
        assert_eq!(hub(&[("TRANSFORMERS_OFFLINE", "YES")]).access, Access::Offline("TRANSFORMERS_OFFLINE"));
        assert_eq!(hub(&[("TRANSFORMERS_OFFLINE", "0")]).access, Access::Network);
        assert_eq!(hub(&[("HF_HUB_OFFLINE", "0"), ("TRANSFORMERS_OFFLINE", "1")]).access, Access::Network);
        let data_sets = hub(&[("HF_DATASETS_OFFLINE", "1")]);
        assert_eq!(data_sets.access_to(RepositoryKind::Model), Access::Network);
        assert_eq!(data_sets.access_to(RepositoryKind::Dataset), Access::Offline("HF_DATASETS_OFFLINE"));
    }
}

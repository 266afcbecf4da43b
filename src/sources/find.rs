//! From the name of a source to files on this machine. Places are tried in their order, those that are here already
//! first; only then is anything fetched, and where all places fail, each says why.

use super::folder::Folder;
use crate::data::error::{DataError, file_error};
use crate::data::files::{self, matches};
use crate::data::formats::Want;
use crate::data::hub::{Access, Hub, RepositoryKind};
use crate::spec::catalogue::{Catalogue, SourcePlace, SourceUse, file_name};
use crate::spec::{DataSpec, WeightsSpec};
use crate::tensorflow::{TensorflowError, download, imported, is_checkpoint};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

/// Looks names up, and fetches where the hub's access allows it.
pub struct Finder<'a> {
    pub catalogue: &'a Catalogue,
    pub folder: Folder,
    pub hub: Hub,
}

/// A source that was found, and where.
#[derive(Debug, Clone, PartialEq)]
pub struct Located<T> {
    pub what: T,
    pub place: SourcePlace,
}

impl Finder<'_> {
    /// Text or reviews, as a spec would name them by `path` or by `hf` and commit.
    ///
    /// # Errors
    /// No place has it: the reasons of each, and what to do.
    pub fn data(&self, name: &str, want: Want, limit: Option<usize>) -> Result<Located<DataSpec>, DataError> {
        let used_as = if want == Want::Reviews { SourceUse::Reviews } else { SourceUse::Text };
        self.first(name, used_as, &|place, hub| self.data_at(name, want, limit, place, hub))
    }

    /// A model directory or repository.
    ///
    /// # Errors
    /// As for [`Finder::data`].
    pub fn weights(&self, name: &str) -> Result<Located<WeightsSpec>, DataError> {
        self.first(name, SourceUse::Model, &|place, hub| self.weights_at(name, place, hub))
    }

    /// A model or a reward model, as the path of a directory that is read.
    ///
    /// # Errors
    /// As for [`Finder::data`].
    pub fn model(&self, name: &str, used_as: SourceUse) -> Result<Located<String>, DataError> {
        self.first(name, used_as, &|place, hub| self.model_at(name, used_as, place, hub))
    }

    /// A model directory as it is, or what a TensorFlow checkpoint is imported as.
    ///
    /// # Errors
    /// A checkpoint that cannot be read.
    pub fn readable(&self, path: String, used_as: SourceUse) -> Result<String, DataError> {
        let from = Path::new(&path);
        if !is_checkpoint(from) {
            return Ok(path);
        }
        let scope = (used_as == SourceUse::RewardModel).then_some("reward_model");
        let imported = imported(from, scope, &self.folder.of("imported")).map_err(TensorflowError::into_data)?;
        Ok(imported.to_string_lossy().into_owned())
    }

    /// A label file, or a folder of them.
    ///
    /// # Errors
    /// As for [`Finder::data`].
    pub fn labels(&self, name: &str) -> Result<Located<PathBuf>, DataError> {
        self.first(name, SourceUse::Labels, &|place, hub| self.labels_at(name, place, hub))
    }

    fn first<T>(
        &self,
        name: &str,
        used_as: SourceUse,
        attempt: &dyn Fn(&SourcePlace, &Hub) -> Result<T, DataError>,
    ) -> Result<Located<T>, DataError> {
        if let Some((message, hint)) = self.catalogue.refusal(name, used_as) {
            return Err(DataError::Other(format!("{}: {message}; {hint}", used_as.key())));
        }
        let places = self.catalogue.get(name).map(|source| source.places.clone()).unwrap_or_default();
        let here = self.hub.clone().cache_only();
        let by_hand = self.by_hand(name, &places);
        let mut refused = Vec::new();
        for place in by_hand.iter().chain(&places) {
            match attempt(place, &here) {
                Ok(what) => return Ok(Located { what, place: place.clone() }),
                // What is here and wrong must not be passed over for what would be fetched.
                Err(e @ (DataError::File { .. } | DataError::Other(_))) if place.path.is_none() => return Err(e),
                Err(e) => refused.push(e.to_string()),
            }
        }
        if self.hub.access == Access::Network {
            refused.clear();
            for place in &places {
                match attempt(place, &self.hub) {
                    Ok(what) => return Ok(Located { what, place: place.clone() }),
                    Err(e) => refused.push(e.to_string()),
                }
                if self.stopped() {
                    break;
                }
            }
        }
        Err(self.nowhere(name, used_as, &places, &refused))
    }

    fn stopped(&self) -> bool {
        self.hub.stop.as_ref().is_some_and(|stop| stop.load(Ordering::SeqCst))
    }

    /// Files that a person put in the source's folder, where no address fills it.
    fn by_hand(&self, name: &str, places: &[SourcePlace]) -> Option<SourcePlace> {
        if places.iter().any(|place| !place.urls.is_empty() || place.tensorflow.is_some())
            || !self.folder.has_files(name)
        {
            return None;
        }
        let last = |pattern: &Option<String>| pattern.as_ref().map(|p| p.rsplit('/').next().unwrap_or(p).to_string());
        let like = places.first().cloned().unwrap_or_default();
        let dir = self.folder.of(name);
        let single = single_file(&dir);
        let (files, held_out_files) = match single {
            Some(_) => (None, None),
            None => (last(&like.files), last(&like.held_out_files)),
        };
        let path = single.unwrap_or(dir).to_string_lossy().into_owned();
        Some(SourcePlace { path: Some(path), files, held_out_files, columns: like.columns, ..SourcePlace::default() })
    }

    fn nowhere(&self, name: &str, used_as: SourceUse, places: &[SourcePlace], refused: &[String]) -> DataError {
        let put = match self.wanted_names(places) {
            names if names.is_empty() => format!("put its files in {}", self.folder.of(name).display()),
            names => format!("put {} in {}", names.join(" and "), self.folder.of(name).display()),
        };
        let fetch = match self.hub.access {
            Access::CacheOnly => "`runner fetch SPEC` brings it, or a run does; ".to_string(),
            Access::Network => String::new(),
            Access::Offline(variable) => format!("{variable} is set, so nothing is fetched; "),
        };
        let own = match used_as {
            SourceUse::Model | SourceUse::RewardModel => "a model directory",
            _ => "a file or folder",
        };
        let reasons = refused.join("; ");
        DataError::Fetch {
            what: format!("source {name:?}"),
            message: format!(
                "is not here ({reasons}). {fetch}{put}, or name {own} in sources.toml: [sources] {name:?} = \"PATH\""
            ),
        }
    }

    /// File names of addresses, for a person who brings them by other means.
    fn wanted_names(&self, places: &[SourcePlace]) -> Vec<String> {
        places.iter().flat_map(SourcePlace::addresses).map(|url| file_name(url).to_string()).collect()
    }

    /// The files of a place's addresses.
    fn addresses(&self, name: &str, place: &SourcePlace, hub: &Hub) -> Result<Vec<PathBuf>, DataError> {
        let one = |url: &String| self.folder.file(name, url, &self.catalogue.mirrored(url), place, hub);
        place.addresses().map(one).collect()
    }

    fn data_at(
        &self,
        name: &str,
        want: Want,
        limit: Option<usize>,
        place: &SourcePlace,
        hub: &Hub,
    ) -> Result<DataSpec, DataError> {
        let read = DataSpec {
            format: place.format,
            columns: place.columns.clone(),
            join: place.join,
            limit,
            files: place.files.clone(),
            held_out_files: place.held_out_files.clone(),
            ..DataSpec::default()
        };
        if let Some(path) = &place.path {
            let path = there(path)?;
            return Ok(DataSpec { path: Some(path), ..read });
        }
        if let Some(repository) = &place.hf {
            let mut data = DataSpec { hf: Some(repository.clone()), revision: place.revision.clone(), ..read };
            let found = files::resolve(&data, want, || Ok(hub.clone()))?;
            data.revision = found.and_then(|files| files.commit);
            return Ok(data);
        }
        let found = self.addresses(name, place, hub)?;
        let names = |url: &String| file_name(url).to_string();
        let held_out_files = place.held_out_url.as_ref().map(names).filter(|_| want == Want::Documents);
        if let ([only], None) = (&found[..], &held_out_files) {
            return Ok(DataSpec { path: Some(only.to_string_lossy().into_owned()), ..read });
        }
        let files = (place.urls.len() == 1).then(|| names(&place.urls[0]));
        let path = self.folder.of(name).to_string_lossy().into_owned();
        Ok(DataSpec { path: Some(path), files, held_out_files, ..read })
    }

    fn weights_at(&self, name: &str, place: &SourcePlace, hub: &Hub) -> Result<WeightsSpec, DataError> {
        let none = WeightsSpec { path: None, hf: None, revision: None, pretrain: None, source: None };
        if let Some(path) = &place.path {
            return Ok(WeightsSpec { path: Some(there(path)?), ..none });
        }
        if let Some(repository) = &place.hf {
            let (_, commit) = hub.model(repository, place.revision.as_deref())?;
            return Ok(WeightsSpec { hf: Some(repository.clone()), revision: Some(commit), ..none });
        }
        Ok(WeightsSpec { path: Some(self.model_at(name, SourceUse::Model, place, hub)?), ..none })
    }

    fn model_at(&self, name: &str, used_as: SourceUse, place: &SourcePlace, hub: &Hub) -> Result<String, DataError> {
        if let Some(path) = &place.path {
            return there(path).and_then(|path| self.readable(path, used_as));
        }
        if let Some(repository) = &place.hf {
            let (dir, _) = hub.model(repository, place.revision.as_deref())?;
            return Ok(dir.to_string_lossy().into_owned());
        }
        let folder = self.folder.of(name);
        match &place.tensorflow {
            Some(address) => self.checkpoint(name, address.trim_end_matches('/'), place, hub)?,
            None => {
                self.addresses(name, place, hub)?;
            }
        }
        self.readable(folder.to_string_lossy().into_owned(), used_as)
    }

    /// The files of a checkpoint, in the folder of its source as they are at its address.
    fn checkpoint(&self, name: &str, address: &str, place: &SourcePlace, hub: &Hub) -> Result<(), DataError> {
        let fetch = |file: &str, _: &Path| {
            let url = format!("{address}/{file}");
            let below = file.rsplit_once('/').map_or_else(|| name.to_string(), |(sub, _)| format!("{name}/{sub}"));
            self.folder.file(&below, &url, &self.catalogue.mirrored(&url), place, hub)
        };
        download(&self.folder.of(name), &fetch).map_err(TensorflowError::into_data)
    }

    fn labels_at(&self, name: &str, place: &SourcePlace, hub: &Hub) -> Result<PathBuf, DataError> {
        if let Some(path) = &place.path {
            return there(path).map(PathBuf::from);
        }
        let found = match &place.hf {
            Some(repository) => {
                let snapshot = hub.snapshot(repository, RepositoryKind::Dataset, place.revision.as_deref())?;
                let pattern = place.files.as_deref().unwrap_or("*.json");
                let names: Vec<String> = snapshot.names.iter().filter(|n| matches(pattern, n)).cloned().collect();
                if names.is_empty() {
                    let message = format!("has no file {pattern:?}");
                    return Err(DataError::Hub { what: format!("data set {repository}"), message });
                }
                hub.get(&snapshot, &names)?
            }
            None => self.addresses(name, place, hub)?,
        };
        match &found[..] {
            [only] => Ok(only.clone()),
            several => {
                let folder = several.first().and_then(|path| path.parent());
                Ok(folder.map_or_else(|| self.folder.of(name), Path::to_path_buf))
            }
        }
    }
}

/// The only file of a folder.
fn single_file(dir: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(dir).ok()?.flatten();
    let mut visible = entries.filter(|entry| !entry.file_name().to_string_lossy().starts_with('.'));
    let only = visible.next()?.path();
    (visible.next().is_none() && only.is_file()).then_some(only)
}

fn there(path: &str) -> Result<String, DataError> {
    match Path::new(path).exists() {
        true => Ok(path.into()),
        false => Err(file_error(Path::new(path), "there is no such file or folder")),
    }
}

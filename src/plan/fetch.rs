//! What a run takes from outside: names, sizes, whether it is here already, and where it comes from.

use super::sizes::on_hub;
use crate::data::hub::Hub;
use crate::sources::{Finder, Need, Wanted, bytes_of, needs};
use crate::spec::Spec;
use crate::stage::sources::finder;
use schemars::JsonSchema;
use serde::Serialize;

/// One source.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[schemars(rename = "Fetch")]
pub struct PlannedFetch {
    /// Of the catalogue, or a repository of the hub.
    pub name: String,
    /// The part of the spec that asks for it.
    pub key: String,
    /// About how many bytes are fetched; none where that is not known.
    pub bytes: Option<u64>,
    /// Whether all of it is here.
    pub present: bool,
    /// Where it is, or would be fetched from.
    pub place: String,
}

/// Everything that a spec takes from outside; files and folders that it names itself are not fetched. Nobody is asked.
pub fn fetches(spec: &Spec) -> Vec<PlannedFetch> {
    let looking = Hub::from_env().and_then(|hub| finder(hub.cache_only()));
    needs(spec).iter().filter_map(|need| one(need, looking.as_ref().ok())).collect()
}

fn one(need: &Need, looking: Option<&Finder<'_>>) -> Option<PlannedFetch> {
    let (name, bytes, from) = match &need.wanted {
        Wanted::Path(_) => return None,
        Wanted::Hub(place) => {
            let name = place.hf.clone()?;
            (name.clone(), on_hub(&name).map(|(_, bytes)| bytes), place.describe())
        }
        Wanted::Source(name) => {
            let source = looking.and_then(|finder| finder.catalogue.get(name));
            let bytes = source.and_then(|source| bytes_of(source.size.as_ref()?));
            let from = source.and_then(|source| source.places.first()).map(|place| place.describe());
            (name.clone(), bytes, from.unwrap_or_else(|| "not in the catalogue".into()))
        }
    };
    let here = looking.and_then(|finder| need.bring(finder).ok());
    let present = here.is_some();
    Some(PlannedFetch { name, key: need.used_as.key().into(), bytes, present, place: here.unwrap_or(from) })
}

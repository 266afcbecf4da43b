//! The full path of every spec and suite, not only its smoke profile: from a stand-in server that has the texts,
//! weights, reviews and labels in their true layouts under their true names, shrunk by numbers alone.

#[path = "../data/stand_in_hub.rs"]
#[allow(dead_code)]
mod stand_in_hub;

#[path = "../data/tensorflow_bundle.rs"]
mod tensorflow_bundle;

mod faults;
mod released;
mod specs;
mod world;

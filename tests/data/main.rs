//! Data sources from outside: the Hugging Face hub against a stand-in on this machine (hub.rs), files of every format
//! and kind of damage through the program (local.rs), and a whole run whose model and text come from the hub (run.rs).

mod hub;
mod local;
mod run;
// Files at plain addresses are for tests/full_path.
#[allow(dead_code)]
mod stand_in_hub;

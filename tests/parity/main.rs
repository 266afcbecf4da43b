//! The trainer's own functions against independent software: fixtures made by make_parity.py (transformers, torch,
//! numpy in 64 bits), whole forward and backward passes, Adam, a PPO update, reward-model training, sampling. No
//! Python is needed here. README.md says how to run this on a GPU and what was measured.
//!
//! Limits are of relative differences, ‖ours - reference‖ / ‖reference‖ of a whole tensor; each test says why its
//! limit is what it is. A 32-bit float keeps 6e-8 of its value; a wrong formula shows at 1e-2 and above.

mod adam;
mod controllers;
mod forward;
mod frequencies;
mod gradient;
mod learners;
mod models;
mod numbers;
mod ppo;
mod precision;
mod reward;

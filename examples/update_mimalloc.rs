#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
#[path = "update.rs"]
mod update;
fn main() { update::main().unwrap() }

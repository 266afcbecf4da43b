//! Ctrl-C and the operating system's other requests to end. The first makes a run save and stop at its next step, and
//! is remembered by its name; the second ends the program at once.

use crate::context::signal;
use crate::results::Outcome;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};

/// Within this time a second SIGTERM is the first one, by another way.
const ECHO: Duration = Duration::from_secs(5);

/// Sets `flag` when a request comes. From here on no request kills the program before it could save.
pub fn listen(flag: Arc<AtomicBool>) -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let requests = {
        let _entered = runtime.enter();
        Requests::register()?
    };
    std::thread::Builder::new().name("signals".into()).spawn(move || wait(&runtime, requests, &flag))?;
    Ok(())
}

#[allow(clippy::exit, reason = "who asks twice wants no more steps")]
fn wait(runtime: &Runtime, mut requests: Requests, flag: &AtomicBool) {
    let mut first: Option<(&str, Instant)> = None;
    loop {
        let name = runtime.block_on(requests.next());
        // Those who end a job tell every process of it, and so do the scripts and launchers above this one.
        if name == "SIGTERM" && first.is_some_and(|(before, at)| before == name && at.elapsed() < ECHO) {
            continue;
        }
        first.get_or_insert((name, Instant::now()));
        signal::remember(name);
        if flag.swap(true, Ordering::SeqCst) {
            crate::model::device::settle();
            std::process::exit(Outcome::Stopped.code());
        }
        eprintln!("finishing the step and saving; ask again (Ctrl-C) to stop at once");
    }
}

#[cfg(unix)]
struct Requests {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    /// None where whoever started the program had it ignored: `nohup`.
    hangup: Option<tokio::signal::unix::Signal>,
}

#[cfg(unix)]
impl Requests {
    fn register() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let hangup = if hangup_ignored() { None } else { Some(signal(SignalKind::hangup())?) };
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())?, hangup })
    }

    async fn next(&mut self) -> &'static str {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => drop(hangup.recv().await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => "Ctrl-C",
            _ = self.terminate.recv() => "SIGTERM",
            () = hangup => "SIGHUP",
        }
    }
}

/// Whether SIGHUP, the lowest bit of the mask, was ignored when the program started; known on Linux.
#[cfg(unix)]
fn hangup_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}

#[cfg(windows)]
struct Requests {
    interrupt: tokio::signal::windows::CtrlC,
    close: tokio::signal::windows::CtrlClose,
    shutdown: tokio::signal::windows::CtrlShutdown,
}

#[cfg(windows)]
impl Requests {
    fn register() -> io::Result<Self> {
        use tokio::signal::windows::{ctrl_c, ctrl_close, ctrl_shutdown};
        Ok(Self { interrupt: ctrl_c()?, close: ctrl_close()?, shutdown: ctrl_shutdown()? })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "Ctrl-C",
            _ = self.close.recv() => "the closed window",
            _ = self.shutdown.recv() => "the machine's shutdown",
        }
    }
}

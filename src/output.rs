//! What the program prints. The macros here take the place of the standard ones in the whole crate: those panic where
//! the reader has gone (`runner plan SPEC | head`, a closed terminal), and a panic in the middle of a run is a run
//! lost.

use crate::printed::for_terminal;
use std::fmt::Arguments;
use std::io::{ErrorKind, IsTerminal, Write};
use std::sync::Mutex;

/// The first reason why something did not reach standard output, a reader who has gone apart.
static FAILED: Mutex<Option<String>> = Mutex::new(None);

macro_rules! print {
    ($($text:tt)*) => { $crate::output::out(format_args!($($text)*)) };
}
macro_rules! println {
    () => { $crate::output::out(format_args!("\n")) };
    ($($text:tt)*) => { $crate::output::out(format_args!("{}\n", format_args!($($text)*))) };
}
macro_rules! eprintln {
    () => { $crate::output::err(format_args!("\n")) };
    ($($text:tt)*) => { $crate::output::err(format_args!("{}\n", format_args!($($text)*))) };
}

/// Names, reasons and texts in it may be others': a terminal gets no control characters of theirs, a file gets all.
pub(crate) fn out(text: Arguments<'_>) {
    let mut out = std::io::stdout().lock();
    note(match out.is_terminal() {
        // Lines of CSV end with both.
        true => out.write_all(for_terminal(&text.to_string().replace("\r\n", "\n")).as_bytes()),
        false => out.write_fmt(text),
    });
}

/// There is nowhere to say that this failed. Whoever keeps it in a file reads it on a terminal later.
pub(crate) fn err(text: Arguments<'_>) {
    let _ = std::io::stderr().lock().write_all(for_terminal(&text.to_string()).as_bytes());
}

fn note(result: std::io::Result<()>) {
    if let Err(e) = result
        && e.kind() != ErrorKind::BrokenPipe
        && let Ok(mut failed) = FAILED.lock()
    {
        failed.get_or_insert(e.to_string());
    }
}

/// The exit code of a command that ended with `code`: 1 where its output is not all there.
pub(crate) fn finished(code: i32) -> i32 {
    note(std::io::stdout().lock().flush());
    let failed = FAILED.lock().ok().and_then(|mut failed| failed.take());
    match failed {
        Some(why) => {
            eprintln!("error: standard output: {why}");
            if code == 0 { 1 } else { code }
        }
        None => code,
    }
}

/// Standard output for what is written piece by piece: after its reader has gone, the rest goes nowhere.
pub(crate) struct Out(std::io::StdoutLock<'static>);

impl Out {
    pub(crate) fn new() -> Self {
        Self(std::io::stdout().lock())
    }
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write(bytes).or_else(|e| if reader_gone(&e) { Ok(bytes.len()) } else { Err(e) })
    }
    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush().or_else(|e| if reader_gone(&e) { Ok(()) } else { Err(e) })
    }
}

/// Whether writing failed because the reader has gone, which is no failure of the writer's.
pub(crate) fn reader_gone(error: &std::io::Error) -> bool {
    error.kind() == ErrorKind::BrokenPipe
}

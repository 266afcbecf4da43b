//! A program of the user's that reads JSON lines and answers each with one. It is started without a shell and lives for
//! many questions; whatever else it does than answer is an error that says what it said.

use crate::spec::CommandSpec;
use crate::store::atomic::hash_file;
use serde_json::Value;
use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Longest line of an answer, in bytes.
const LONGEST_LINE: u64 = 1 << 20;
/// Lines that may wait to be read.
const LINES: usize = 1024;
/// Of what a program says on its standard error, the last bytes.
const MOST_SAID: usize = 2000;
/// Of a wrong line, in characters.
const SHOWN: usize = 120;
/// Between two looks whether to stop.
const LOOK: Duration = Duration::from_millis(100);
/// After its last answer, or its end, a program and its pipes have so long to be done.
const END: Duration = Duration::from_secs(10);

/// What it said on its standard error may come so much later than its end.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// The words of a program and the content of those that are files, wherever they lie. Err: a file cannot be read.
pub fn key(command: &CommandSpec) -> Result<Vec<(String, Option<String>)>, String> {
    let one = |word: &String| {
        let path = Path::new(word);
        if !word.contains(std::path::is_separator) || !path.is_file() {
            return Ok((word.clone(), None));
        }
        let hash = hash_file(path).map_err(|e| format!("{word}: {e}"))?;
        Ok((path.file_name().unwrap_or_default().to_string_lossy().into_owned(), Some(hash)))
    };
    command.run.iter().map(one).collect()
}

/// Why a program gave no answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// In words, with its name.
    Wrong(String),
    /// Somebody stops the run.
    Stopped,
}

/// A running program; it is ended when this is dropped.
#[derive(Debug)]
pub struct Program {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<Result<String, String>>,
    said: Arc<Mutex<VecDeque<u8>>>,
    /// Hears that until it is closed.
    listener: Option<JoinHandle<()>>,
    timeout: Duration,
    /// Answers so far.
    answers: usize,
}

impl Program {
    /// Starts it. Err: why it does not start.
    pub fn start(command: &CommandSpec) -> Result<Self, String> {
        let name = command.run.join(" ");
        let Some((program, arguments)) = command.run.split_first() else { return Err("no program is named".into()) };
        let mut starts = Command::new(program);
        starts.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // Python keeps what it prints into a pipe back until there is much of it.
        starts.env("PYTHONUNBUFFERED", "1");
        // A Ctrl-C is the run's, which ends its programs itself.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut starts, 0);
        let mut child = starts.spawn().map_err(|e| format!("{name:?} does not start: {e}"))?;
        let (sender, lines) = sync_channel(LINES);
        if let Some(stdout) = child.stdout.take() {
            std::thread::spawn(move || {
                let mut reader = BufReader::new(stdout);
                while let Some(line) = next_line(&mut reader) {
                    if sender.send(line).is_err() {
                        return;
                    }
                }
            });
        }
        let said = Arc::new(Mutex::new(VecDeque::new()));
        let listener = child.stderr.take().map(|stderr| {
            let said = Arc::clone(&said);
            std::thread::spawn(move || listen(stderr, &said))
        });
        let stdin = child.stdin.take();
        let timeout = Duration::from_secs_f64(command.timeout);
        Ok(Self { name, child, stdin, lines, said, listener, timeout, answers: 0 })
    }

    /// Hands over `questions`, one JSON value per line, and gives each answer to `take` as it comes, with its number
    /// among them. `last`: the program's input ends with them, and it must end too.
    pub fn exchange(
        &mut self,
        questions: &[Value],
        last: bool,
        stopped: &dyn Fn() -> bool,
        take: &mut dyn FnMut(usize, Value) -> Result<(), String>,
    ) -> Result<(), Failure> {
        self.nothing_more()?;
        let mut stdin = self.stdin.take();
        let text: String = questions.iter().map(|question| format!("{question}\n")).collect();
        // On a thread of its own: a program may answer before it has read all, and then waits to be read.
        let writer = std::thread::spawn(move || {
            if let Some(pipe) = &mut stdin {
                // A program that has ended is noticed where its answers are read.
                let _ = pipe.write_all(text.as_bytes()).and_then(|()| pipe.flush());
            }
            stdin.filter(|_| !last)
        });
        for i in 0..questions.len() {
            let line = self.line(stopped, i, questions.len())?;
            self.answers += 1;
            let answer = serde_json::from_str(&line).map_err(|e| self.wrong(&line, &format!("is no JSON: {e}")))?;
            take(i, answer).map_err(|why| self.wrong(&line, &why))?;
        }
        // All is answered, and so all was read, or will be: one that answers what it has not read is killed below.
        let began = Instant::now();
        while !writer.is_finished() {
            if began.elapsed() > END {
                return Err(Failure::Wrong(format!("{:?} answers and does not read what it is asked", self.name)));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        self.stdin = writer.join().unwrap_or_default();
        if last { self.ends(stopped) } else { Ok(()) }
    }

    /// The next line, within the time.
    fn line(&mut self, stopped: &dyn Fn() -> bool, i: usize, n: usize) -> Result<String, Failure> {
        let began = Instant::now();
        loop {
            match self.lines.recv_timeout(LOOK.min(self.timeout)) {
                Ok(Ok(line)) => return Ok(line),
                Ok(Err(why)) => return Err(Failure::Wrong(format!("{:?}: {why}", self.name))),
                Err(RecvTimeoutError::Disconnected) => {
                    let how = self.ended();
                    return Err(Failure::Wrong(format!(
                        "{:?} {how} after {i} of {n} answers{}",
                        self.name,
                        self.says()
                    )));
                }
                Err(RecvTimeoutError::Timeout) if stopped() => return Err(Failure::Stopped),
                Err(RecvTimeoutError::Timeout) if began.elapsed() >= self.timeout => {
                    return Err(Failure::Wrong(format!(
                        "{:?} has said nothing for {:.0} seconds after {i} of {n} answers, and is ended (`timeout`); does it \
                         write each answer out at once?{}",
                        self.name,
                        self.timeout.as_secs_f64().ceil(),
                        self.says()
                    )));
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// Err: it wrote more lines than it was asked. What it writes before its first question is read as the answer to that:
    /// otherwise it would be told apart by who is faster.
    fn nothing_more(&self) -> Result<(), Failure> {
        if self.answers == 0 {
            return Ok(());
        }
        match self.lines.try_recv() {
            Ok(Ok(line)) => Err(self.more(&line)),
            Ok(Err(why)) => Err(Failure::Wrong(format!("{:?}: {why}", self.name))),
            Err(TryRecvError::Empty | TryRecvError::Disconnected) => Ok(()),
        }
    }

    fn more(&self, line: &str) -> Failure {
        let (n, line) = (self.answers, shown(line));
        Failure::Wrong(format!(
            "{:?} writes more lines than it was asked questions: after {n} answers {line}",
            self.name
        ))
    }

    /// Waits for its end, which has to be a good one.
    fn ends(&mut self, stopped: &dyn Fn() -> bool) -> Result<(), Failure> {
        let began = Instant::now();
        loop {
            match self.lines.recv_timeout(LOOK) {
                Ok(Ok(line)) => return Err(self.more(&line)),
                Ok(Err(why)) => return Err(Failure::Wrong(format!("{:?}: {why}", self.name))),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) if stopped() => return Err(Failure::Stopped),
                Err(RecvTimeoutError::Timeout) if began.elapsed() > END.min(self.timeout) => {
                    return Err(Failure::Wrong(format!(
                        "{:?} has answered all and does not end, although its input has{}",
                        self.name,
                        self.says()
                    )));
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
        match self.ended() {
            how if how == "ended" => Ok(()),
            how => Err(Failure::Wrong(format!("{:?} {how} after it had answered all{}", self.name, self.says()))),
        }
    }

    /// How it ended, once its output has: "ended", or with which status. What it said last has been heard then, unless
    /// one that it started goes on talking.
    fn ended(&mut self) -> String {
        let how = self.status();
        let began = Instant::now();
        while self.listener.as_ref().is_some_and(|listener| !listener.is_finished()) && began.elapsed() < LAST_WORDS {
            std::thread::sleep(Duration::from_millis(5));
        }
        how
    }

    fn status(&mut self) -> String {
        let began = Instant::now();
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) if status.success() => return "ended".into(),
                Ok(Some(status)) => return format!("ended with {status}"),
                Ok(None) if began.elapsed() < END.min(self.timeout) => std::thread::sleep(Duration::from_millis(5)),
                Ok(None) => return "closed its output".into(),
                Err(e) => return format!("ended ({e})"),
            }
        }
    }

    fn wrong(&self, line: &str, why: &str) -> Failure {
        let (n, line) = (self.answers, shown(line));
        Failure::Wrong(format!("{:?}: line {n} of its output {line} {why}{}", self.name, self.says()))
    }

    /// The end of what it said on its standard error.
    fn says(&self) -> String {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(&said.iter().copied().collect::<Vec<u8>>()).trim().to_string();
        if text.is_empty() { String::new() } else { format!("; it says:\n{text}") }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.stdin = None;
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn shown(line: &str) -> String {
    let short: String = line.chars().take(SHOWN).collect();
    format!("{short:?}")
}

/// A line without its end; None at the end of the output.
fn next_line(reader: &mut impl BufRead) -> Option<Result<String, String>> {
    let mut line = Vec::new();
    match reader.take(LONGEST_LINE).read_until(b'\n', &mut line) {
        Ok(0) => None,
        Ok(n) if n as u64 == LONGEST_LINE => {
            Some(Err(format!("a line of its output has more than {LONGEST_LINE} bytes")))
        }
        Ok(_) => {
            let text = String::from_utf8(line).map(|text| text.trim_end_matches(['\n', '\r']).to_string());
            Some(text.map_err(|_| "a line of its output is not UTF-8".into()))
        }
        Err(e) => Some(Err(format!("its output cannot be read: {e}"))),
    }
}

/// Keeps the end of what is said.
fn listen(mut from: impl Read, said: &Mutex<VecDeque<u8>>) {
    let mut piece = [0; 1024];
    while let Ok(n) = from.read(&mut piece) {
        if n == 0 {
            return;
        }
        let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
        said.extend(&piece[..n]);
        let more = said.len().saturating_sub(MOST_SAID);
        said.drain(..more);
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use serde_json::json;

    /// What a shell script makes of three questions.
    fn answers(script: &str, timeout: f64) -> Result<Vec<Value>, String> {
        let command = CommandSpec { run: vec!["sh".into(), "-c".into(), script.into()], timeout };
        let mut program = Program::start(&command)?;
        let (questions, mut found) = ([json!(1), json!(2), json!(3)], Vec::new());
        let taken = program.exchange(&questions, true, &|| false, &mut |i, answer| {
            assert_eq!(i, found.len());
            found.push(answer);
            Ok(())
        });
        match taken {
            Ok(()) => Ok(found),
            Err(Failure::Wrong(why)) => Err(why),
            Err(Failure::Stopped) => Err("stopped".into()),
        }
    }

    #[test]
    fn one_line_is_answered_by_one() {
        assert_eq!(answers("cat", 10.0).unwrap(), [json!(1), json!(2), json!(3)]);
        // All at once, after the input has ended.
        assert_eq!(answers("x=$(cat); echo \"$x\"", 10.0).unwrap().len(), 3);
    }

    #[test]
    fn what_else_a_program_does_is_said() {
        for (script, words) in [
            ("exit 3", &["ended with exit status: 3", "after 0 of 3"][..]),
            ("read q; echo 1; echo broken >&2; exit 1", &["after 1 of 3", "it says:\nbroken"]),
            ("cat; exit 4", &["exit status: 4", "after it had answered all"]),
            ("head -n 2", &["ended after 2 of 3"]),
            ("cat; echo 4", &["more lines", "\"4\""]),
            ("echo hello; cat", &["line 1", "\"hello\"", "no JSON"]),
            ("printf '\\n'; cat", &["line 1", "no JSON"]),
            ("printf '\\377\\n'", &["not UTF-8"]),
            ("kill -9 $$", &["signal"]),
            ("yes 1", &["more lines"]),
            ("echo 0; cat", &["more lines", "\"3\""]),
        ] {
            let message = answers(script, 10.0).unwrap_err();
            assert!(words.iter().all(|word| message.contains(word)), "{script}: {message}");
        }
    }

    #[test]
    fn a_silent_program_is_ended() {
        let message = answers("read q; echo 1; exec sleep 100", 3.0).unwrap_err();
        assert!(message.contains("nothing for 3 seconds after 1 of 3"), "{message}");
        let message = answers("cat; exec sleep 100", 3.0).unwrap_err();
        assert!(message.contains("does not end"), "{message}");
    }

    #[test]
    fn a_program_that_reads_late_is_no_deadlock() {
        // Both pipes are fuller than they hold.
        let text = "x".repeat(200_000);
        let command = CommandSpec { run: vec!["cat".into()], timeout: 20.0 };
        let mut program = Program::start(&command).unwrap();
        let questions: Vec<Value> = (0..8).map(|_| json!(text)).collect();
        for last in [false, true] {
            let mut n = 0;
            let done = program.exchange(&questions, last, &|| false, &mut |_, _| {
                n += 1;
                Ok(())
            });
            assert_eq!((done, n), (Ok(()), 8));
        }
    }

    #[test]
    fn words_are_named_by_their_content() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.py");
        std::fs::write(&path, "1").unwrap();
        let of = |path: &Path| {
            let run = vec!["python3".into(), path.to_string_lossy().into_owned(), "-x".into()];
            key(&CommandSpec { run, timeout: 1.0 }).unwrap()
        };
        let before = of(&path);
        assert_eq!((before[0].clone(), before[1].0.as_str()), (("python3".into(), None), "a.py"));
        let moved = dir.path().join("b");
        std::fs::create_dir(&moved).unwrap();
        std::fs::write(moved.join("a.py"), "1").unwrap();
        assert_eq!(of(&moved.join("a.py")), before);
        std::fs::write(&path, "2").unwrap();
        assert_ne!(of(&path), before);
    }
}

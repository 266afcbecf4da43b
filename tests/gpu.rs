//! What a GPU does not do is noticed. On the device that RUNNER_TEST_DEVICE names (`wgpu`, `wgpu:N`; a software driver
//! will do); without it there is nothing to test:
//!
//!     RUNNER_TEST_DEVICE=wgpu cargo test --release --test gpu -- --test-threads 1
//!
//! One at a time: failures are the process's.

use burn::tensor::{Device, DeviceKind, Tensor};
use runner::model::ModelError;
use runner::model::device::{ChosenDevice, adapters, choose};
use runner::model::faults::confirm;
use runner::model::gpu;
use runner::model::parallel::map_shards;
use runner::model::sampling::to_vec;
use runner::run::panics::{caught, remember};
use runner::run::{RunSettings, run};
use runner::spec::Options;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// The device under test, where there is one.
fn device() -> Option<(ChosenDevice, MutexGuard<'static, ()>)> {
    let turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let name = std::env::var("RUNNER_TEST_DEVICE").ok().filter(|name| name.starts_with("wgpu"))?;
    Some((choose(&name).expect("the device"), turn))
}

/// Numbers that are one too many for an array of the device.
fn too_many(chosen: &ChosenDevice) -> usize {
    chosen.largest_buffer.expect("a GPU says it") as usize / size_of::<f32>() + 1
}

#[test]
fn an_allocation_that_fails_is_an_error_even_where_a_read_is_not() {
    let Some((chosen, _turn)) = device() else { return };
    let device = &chosen.device;
    confirm().expect("nothing has failed yet");
    let bad = Tensor::<1>::zeros([too_many(&chosen)], device).narrow(0, 0, 1);
    let good = Tensor::<1>::from_data([7.0f32], device);
    // The libraries below lose the failure here, in this version: what is read was never written.
    let read = to_vec(Tensor::cat(vec![bad, good], 0));
    let error = confirm().expect_err("an allocation failed").to_string();
    assert!(error.starts_with("device: ") && error.contains("--device-memory"), "{error}; read: {read:?}");
    assert!(!error.contains('\n') && error.len() < 900, "{error}");
    // What was asked about is over, and the device works on.
    confirm().expect("nothing has failed since");
    assert_eq!(to_vec(Tensor::<1>::from_data([2.0f32, 3.0], device) * 2.0).expect("works"), [4.0, 6.0]);
    // Without the other array the read says it itself, in one line.
    let bad = Tensor::<1>::zeros([too_many(&chosen)], device);
    let error = to_vec(bad.narrow(0, 0, 1)).expect_err("an allocation failed").to_string();
    assert!(error.starts_with("device: ") && !error.contains('\n'), "{error}");
    assert!(confirm().is_err());
}

#[test]
fn a_kernel_that_cannot_be_launched_is_an_error() {
    let Some((chosen, _turn)) = device() else { return };
    // A product whose result alone is too large.
    let n = (too_many(&chosen) as f64).sqrt().ceil() as usize;
    let (a, b) = (Tensor::<2>::ones([n, 1], &chosen.device), Tensor::<2>::ones([1, n], &chosen.device));
    drop(a.matmul(b));
    assert!(confirm().is_err());
    confirm().expect("nothing has failed since");
}

#[test]
fn passes_without_memory_are_done_again_with_half_the_rows() {
    let Some((chosen, _turn)) = device() else { return };
    let before = gpu::limits();
    let row = too_many(&chosen) / 4;
    let items: Vec<usize> = (0..9).collect();
    // Five rows are too many for an array: nine, then four at once; fewer where the driver has less memory than that.
    let sums = map_shards(&items, 9, |rows| {
        let x = Tensor::<2>::ones([rows.len(), row], &chosen.device).slice([0..rows.len(), 0..4]);
        Ok::<_, ModelError>((rows.len(), to_vec(x.sum_dim(1))?))
    });
    let sums = sums.expect("half the rows fit");
    let rows: Vec<usize> = sums.iter().map(|(n, _)| *n).collect();
    assert!([vec![4, 4, 1], vec![2, 2, 2, 2, 1], vec![1; 9]].contains(&rows), "{rows:?}");
    assert!(sums.iter().all(|(n, sums)| *sums == vec![4.0; *n]));
    assert_eq!(
        gpu::limits().halvings - before.halvings,
        [4, 2, 1].iter().position(|n| *n == rows[0]).unwrap() as u32 + 1
    );
    // Where one row is too many, it is an error that says what to do.
    let none = map_shards(&items[..2], 2, |rows| {
        to_vec(Tensor::<1>::ones([too_many(&chosen) * rows.len()], &chosen.device).narrow(0, 0, 1))
    });
    assert!(matches!(none, Err(ModelError::OutOfMemory(_))), "{none:?}");
    gpu::set_limits(before);
}

/// This program again, for one test that takes its device away.
fn child(test: &str, out: &Path) -> String {
    let this = std::env::current_exe().expect("a program");
    let mut command = Command::new(this);
    command.args([test, "--exact", "--ignored", "--nocapture"]).env("RUNNER_TEST_OUT", out);
    let done = command.output().expect("starts");
    let text = String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success() && text.contains("1 passed"), "{text}");
    text
}

/// Begins with a software driver, and gives what takes it away.
fn destroyer() -> impl FnOnce() + Send {
    assert_eq!(adapters().first().map(|a| a.kind.as_str()), Some("Cpu"), "only a software driver is taken away");
    let begun = Device::wgpu_options().device_kind(DeviceKind::Cpu).init_with_setup();
    let (device, setup) = begun.expect("nobody has begun with it");
    assert!(choose("wgpu").expect("the device").device == device, "they are the same");
    remember();
    move || setup.device.destroy()
}

#[test]
fn a_lost_device_is_an_error_from_there_on() {
    let Some((_, _turn)) = device() else { return };
    child("loses_its_device", Path::new(""));
}

#[test]
#[ignore = "in a process of its own, which the test before starts"]
fn loses_its_device() {
    let destroy = destroyer();
    let device = choose("wgpu").expect("the device").device;
    let x = Tensor::<1>::from_data([1.0f32, 2.0], &device);
    confirm().expect("nothing has failed yet");
    destroy();
    // Whoever works on it next finds what it has made invalid, which the library may say with a panic, and whoever waits
    // for it that it is gone.
    let read = caught(|| Ok(to_vec(x * 2.0)?)).map_err(|e| e.to_string());
    println!("read: {read:?}");
    assert!(read.as_ref().is_err_and(|said| said.starts_with("device: ")), "{read:?}");
    for _ in 0..3 {
        let error = confirm().expect_err("it is gone").to_string();
        assert!(error.starts_with("device: it was lost while it worked") && !error.contains('\n'), "{error}");
    }
}

#[test]
fn a_run_that_loses_its_device_ends_with_an_error_and_the_same_command_continues() {
    let Some((_, _turn)) = device() else { return };
    let dir = tempfile::tempdir().expect("a directory");
    let out = dir.path().join("out");
    println!("{}", child("loses_its_device_in_a_run", &out));
    let metrics = || std::fs::read_to_string(out.join("runs/direct/metrics.jsonl")).expect("metrics");
    let before = metrics();
    // A fast driver may be at the end before it is taken away: then what is left is to write the models.
    assert!((UPDATES..=4).contains(&before.lines().count()), "{before}");
    let mut command = Command::new(env!("CARGO_BIN_EXE_runner"));
    command.arg(spec()).args(["--profile", "smoke", "--device", "wgpu", "--no-progress", "--out"]).arg(&out);
    let done = command.output().expect("starts");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    // From the last checkpoint: what is before it is kept with its times, and the rest is done again.
    let after = metrics();
    assert_eq!(after.lines().count(), 4, "{after}");
    assert_eq!(after.lines().next(), before.lines().next());
}

/// Updates of the policy that are kept before the device is taken away.
const UPDATES: usize = 2;

fn spec() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("specs/quickstart.toml")
}

#[test]
#[ignore = "in a process of its own, which the test before starts"]
fn loses_its_device_in_a_run() {
    let out = PathBuf::from(std::env::var_os("RUNNER_TEST_OUT").expect("where to"));
    let destroy = destroyer();
    let metrics = out.join("runs/direct/metrics.jsonl");
    std::thread::spawn(move || {
        while std::fs::read_to_string(&metrics).map_or(0, |text| text.lines().count()) < UPDATES {
            std::thread::sleep(Duration::from_millis(1));
        }
        destroy();
    });
    let options = Options { profile: Some("smoke".into()), ..Options::default() };
    let (device, profile) = ("wgpu".into(), options.profile.clone());
    let settings = RunSettings { device, out: Some(out), progress: false, profile, ..RunSettings::default() };
    let ended = run(&spec(), &options, settings).expect("it begins");
    let error = ended.error.expect("it loses its device");
    println!("exit code {}: {error}", ended.outcome.code());
    // A read that was under way fails before anybody knows why.
    let known =
        ["device: it was lost while it worked", "could not be mapped"].iter().any(|words| error.contains(words));
    let one = !error.contains('\n') && error.contains("the same command continues from the last checkpoint");
    assert!(known && one, "{error}");
}

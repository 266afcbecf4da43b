//! What a GPU does not do is noticed. On the device that RUNNER_TEST_DEVICE names (`wgpu`, `wgpu:N`; a software driver
//! will do); without it there is nothing to test:
//!
//!     RUNNER_TEST_DEVICE=wgpu cargo test --release --test gpu -- --test-threads 1
//!
//! One at a time: failures are the process's.

use burn::tensor::Tensor;
use runner::model::ModelError;
use runner::model::device::{ChosenDevice, choose};
use runner::model::faults::confirm;
use runner::model::gpu;
use runner::model::parallel::map_shards;
use runner::model::sampling::to_vec;
use std::sync::{Mutex, MutexGuard, PoisonError};

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

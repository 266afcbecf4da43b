//! Choosing a device by name: `cpu` (burn's flex), `wgpu`, `wgpu:N`, `auto`.

#[cfg(feature = "wgpu")]
use super::gpu::{self, Limits};
use super::{ModelError, faults};
use crate::ranks;
use crate::spec::Precision;
use burn::tensor::Device;
use runner_kernels::processor::processor;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::time::Duration;

/// How long the end of the program waits for one; a lost device never answers.
const SETTLING: Duration = Duration::from_secs(60);

/// A device and what to call it.
#[derive(Debug, Clone)]
pub struct ChosenDevice {
    pub device: Device,
    pub name: String,
    pub driver: Option<String>,
    /// Bytes of the largest buffer that a kernel can read; none on the CPU.
    pub largest_buffer: Option<u64>,
    /// Whether its kernels can compute in float16; not on the CPU.
    pub half: bool,
}

impl ChosenDevice {
    /// Part of every artifact's key: results of different devices differ in rounding. Equal cards of one machine, or of
    /// several, are one kind; so are CPUs whose products add in the same order.
    pub fn kind(&self) -> String {
        match is_cpu(&self.device) {
            true => format!("cpu {}", processor()),
            false => without_index(&self.name).to_string(),
        }
    }

    /// An error if the device has no products of this precision.
    pub fn check_precision(&self, precision: Precision) -> Result<(), ModelError> {
        if precision.is_f32() || self.half {
            return Ok(());
        }
        let why = match is_cpu(&self.device) {
            true => "the CPU computes in float32 alone",
            false => "its driver has no float16 in kernels (shader-f16)",
        };
        Err(ModelError::Input(format!(
            "model.precision = \"{}\" needs a GPU that computes in float16, and the device is {}: {why}. `runner doctor` says which device can; or leave model.precision out, for float32",
            precision.word(),
            self.name
        )))
    }

    /// An error if the device cannot hold a model's largest weight, the token embedding, in one buffer.
    pub fn check_room(&self, vocab: usize, width: usize) -> Result<(), ModelError> {
        let needed = (vocab * width * size_of::<f32>()) as u64;
        match self.largest_buffer {
            Some(largest) if needed > largest => Err(ModelError::Device(format!(
                "{} takes buffers of at most {} MB, and the embedding of {vocab} tokens by {width} has {} MB; use another device, --device cpu, or a smaller model",
                self.name,
                largest / 1_000_000,
                needed / 1_000_000
            ))),
            _ => Ok(()),
        }
    }
}

/// The name of a GPU without `wgpu:INDEX`, which changes when a card is added.
pub fn without_index(name: &str) -> &str {
    name.split_once(' ').map_or(name, |(_, name)| name)
}

/// A wgpu adapter that this build can use.
#[derive(Debug, Clone)]
pub struct Adapter {
    pub name: String,
    pub kind: String,
    pub driver: String,
    pub backend: String,
    /// A discrete or integrated GPU (not a software driver).
    pub real_gpu: bool,
    /// Bytes of the largest buffer that a kernel can read.
    pub largest_buffer: u64,
    /// Whether its kernels can compute in float16.
    pub half: bool,
}

/// The CPU backend.
pub fn cpu() -> ChosenDevice {
    let (device, name) = (Device::flex(), "cpu (burn flex)".into());
    ChosenDevice { device, name, driver: None, largest_buffer: None, half: false }
}

/// Whether this is the CPU backend, with or without gradients.
pub fn is_cpu(device: &Device) -> bool {
    *device == Device::flex()
}

/// All wgpu adapters, in the order of `wgpu:N`.
#[cfg(feature = "wgpu")]
pub fn adapters() -> Vec<Adapter> {
    let instance = wgpu::Instance::default();
    let found = block_on(instance.enumerate_adapters(wgpu::Backends::PRIMARY));
    found
        .iter()
        .map(|a| {
            let (info, limits) = (a.get_info(), a.limits());
            Adapter {
                real_gpu: matches!(
                    info.device_type,
                    wgpu::DeviceType::DiscreteGpu | wgpu::DeviceType::IntegratedGpu | wgpu::DeviceType::VirtualGpu
                ),
                name: info.name,
                kind: format!("{:?}", info.device_type),
                driver: format!("{} {}", info.driver, info.driver_info).trim().to_string(),
                backend: format!("{:?}", info.backend),
                // burn asks for all that the adapter has.
                largest_buffer: limits.max_buffer_size.min(limits.max_storage_buffer_binding_size),
                half: a.features().contains(wgpu::Features::SHADER_F16),
            }
        })
        .collect()
}

/// This build has no wgpu.
#[cfg(not(feature = "wgpu"))]
pub fn adapters() -> Vec<Adapter> {
    Vec::new()
}

/// Runs a future that needs no executor (wgpu's native futures are ready at once).
#[cfg(feature = "wgpu")]
fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    loop {
        if let std::task::Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        std::thread::yield_now();
    }
}

/// Waits until no device works any more, before the process ends: a driver that is unloaded under its own threads ends
/// it with a segmentation fault, and not with its exit code.
pub fn settle() {
    for device in faults::unwatch() {
        let (done, settled) = mpsc::channel();
        // What failed on the device has been said by whoever needed it.
        let wait = move || {
            let _ = catch_unwind(AssertUnwindSafe(|| device.sync()));
            let _ = done.send(());
        };
        if std::thread::Builder::new().name("settle".into()).spawn(wait).is_ok() {
            let _ = settled.recv_timeout(SETTLING);
        }
    }
}

/// Resolves `auto|cpu|wgpu|wgpu:N`.
pub fn choose(name: &str) -> Result<ChosenDevice, ModelError> {
    match name {
        "cpu" => Ok(cpu()),
        "auto" => match own_gpu(&adapters(), ranks::local()) {
            Some(i) => open_wgpu(i),
            None => Ok(cpu()),
        },
        "wgpu" => open_wgpu(own_gpu(&adapters(), ranks::local()).unwrap_or(0)),
        other => match other.strip_prefix("wgpu:").and_then(|n| n.parse().ok()) {
            Some(index) => open_wgpu(index),
            None => Err(ModelError::Input(format!(
                "`{other}` is not a device; use auto, cpu, wgpu or wgpu:N (see `runner doctor`)"
            ))),
        },
    }
}

/// The GPU among these that this process takes where none is named: the first, or of several processes of one machine
/// (`local`: which one this is) each its own, as long as there are enough. Launchers that leave a process one GPU to
/// see have chosen already.
fn own_gpu(found: &[Adapter], local: Option<usize>) -> Option<usize> {
    let real: Vec<usize> = (0..found.len()).filter(|i| found[*i].real_gpu).collect();
    real.get(local.unwrap_or(0) % real.len().max(1)).copied()
}

#[cfg(feature = "wgpu")]
fn open_wgpu(index: usize) -> Result<ChosenDevice, ModelError> {
    use burn::tensor::DeviceKind;
    let found = adapters();
    let adapter = found.get(index).ok_or_else(|| match found.len() {
        0 => ModelError::Device(
            "wgpu finds no adapter: install a Vulkan, Metal or DX12 driver, or use --device cpu".into(),
        ),
        n => ModelError::Device(format!("there is no wgpu:{index}; {n} adapters are listed by `runner doctor`")),
    })?;
    let same = |a: &&Adapter| a.kind == adapter.kind;
    let within = found[..index].iter().filter(same).count();
    let kind = match adapter.kind.as_str() {
        "DiscreteGpu" => DeviceKind::DiscreteGpu(within),
        "IntegratedGpu" => DeviceKind::IntegratedGpu(within),
        "VirtualGpu" => DeviceKind::VirtualGpu(within),
        "Cpu" => DeviceKind::Cpu,
        _ => DeviceKind::DefaultDevice,
    };
    let device = Device::wgpu(kind);
    faults::watch(&device);
    gpu::set_limits(Limits::known(None, Some(adapter.largest_buffer)));
    Ok(ChosenDevice {
        device,
        name: format!("wgpu:{index} {} ({})", adapter.name, adapter.backend),
        driver: Some(adapter.driver.clone()),
        largest_buffer: Some(adapter.largest_buffer),
        half: adapter.half,
    })
}

#[cfg(not(feature = "wgpu"))]
fn open_wgpu(_: usize) -> Result<ChosenDevice, ModelError> {
    Err(ModelError::Device("this build has no wgpu; build with `--features wgpu`, or use --device cpu".into()))
}

/// Largest |a - b|; infinite where lengths differ or a number is NaN.
pub fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    if a.len() != b.len() {
        return f32::INFINITY;
    }
    a.iter().zip(b).map(|(x, y)| (x - y).abs()).fold(0.0, |m, d| if d.is_nan() { f32::INFINITY } else { m.max(d) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_of_one_machine_take_a_gpu_each() {
        let adapter = |real_gpu| Adapter {
            name: "a".into(),
            kind: "DiscreteGpu".into(),
            driver: String::new(),
            backend: "Vulkan".into(),
            real_gpu,
            largest_buffer: 0,
            half: false,
        };
        let found = [adapter(true), adapter(false), adapter(true)];
        assert_eq!([None, Some(0), Some(1), Some(2)].map(|local| own_gpu(&found, local)), [0, 0, 2, 0].map(Some));
        assert_eq!(own_gpu(&found[1..2], Some(3)), None);
    }

    #[test]
    fn equal_cards_are_one_kind_and_processors_that_add_differently_are_not() {
        let card = |i: usize| ChosenDevice { name: format!("wgpu:{i} NVIDIA H100 (Vulkan)"), ..cpu() };
        assert_eq!(without_index(&card(0).name), without_index(&card(7).name));
        assert_eq!(without_index(&card(0).name), "NVIDIA H100 (Vulkan)");
        assert!(cpu().kind().starts_with("cpu ") && cpu().kind().contains("blocks of"), "{}", cpu().kind());
    }

    #[test]
    fn a_device_without_float16_refuses_it() {
        let message = cpu().check_precision(Precision::F16).unwrap_err().to_string();
        assert!(
            message.contains("the CPU computes in float32 alone") && message.contains("runner doctor"),
            "{message}"
        );
        assert!(cpu().check_precision(Precision::F32).is_ok());
        let gpu = ChosenDevice { half: true, ..cpu() };
        assert!(gpu.check_precision(Precision::F16).is_ok());
    }

    #[test]
    fn a_device_with_small_buffers_refuses_a_large_embedding() {
        let small = ChosenDevice { largest_buffer: Some(128 << 20), ..cpu() };
        assert!(small.check_room(2048, 128).is_ok());
        let message = small.check_room(50_257, 768).unwrap_err().to_string();
        assert!(message.contains("at most 134 MB") && message.contains("has 154 MB"), "{message}");
        assert!(cpu().check_room(50_257, 1600).is_ok());
    }
}

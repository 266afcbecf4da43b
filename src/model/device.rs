//! Choosing a device by name: `cpu` (burn's flex), `wgpu`, `wgpu:N`, `auto`; and the known-answer test that a
//! device must pass before it is trusted with a run.

use super::ModelError;
use super::gpt2::{Batch, Gpt2, Weights};
use super::sampling::{Sampling, joined, logprobs, sample, targets, to_vec};
use crate::spec::ModelSize;
use burn::tensor::Device;

/// A device and what to call it.
#[derive(Debug, Clone)]
pub struct Chosen {
    pub device: Device,
    pub name: String,
    pub driver: Option<String>,
}

impl Chosen {
    /// Part of every artifact's key: results of different devices differ in rounding.
    pub fn kind(&self) -> String {
        if is_cpu(&self.device) { "cpu".into() } else { self.name.clone() }
    }
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
}

/// The CPU backend.
pub fn cpu() -> Chosen {
    Chosen { device: Device::flex(), name: "cpu (burn flex)".into(), driver: None }
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
            let info = a.get_info();
            Adapter {
                real_gpu: matches!(
                    info.device_type,
                    wgpu::DeviceType::DiscreteGpu | wgpu::DeviceType::IntegratedGpu | wgpu::DeviceType::VirtualGpu
                ),
                name: info.name,
                kind: format!("{:?}", info.device_type),
                driver: format!("{} {}", info.driver, info.driver_info).trim().to_string(),
                backend: format!("{:?}", info.backend),
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

/// Resolves `auto|cpu|wgpu|wgpu:N`.
pub fn choose(name: &str) -> Result<Chosen, ModelError> {
    match name {
        "cpu" => Ok(cpu()),
        "auto" => match adapters().iter().position(|a| a.real_gpu) {
            Some(i) => open_wgpu(i),
            None => Ok(cpu()),
        },
        "wgpu" => {
            let found = adapters();
            open_wgpu(found.iter().position(|a| a.real_gpu).unwrap_or(0))
        }
        other => match other.strip_prefix("wgpu:").and_then(|n| n.parse().ok()) {
            Some(index) => open_wgpu(index),
            None => Err(ModelError::Device(format!(
                "`{other}` is not a device; use auto, cpu, wgpu or wgpu:N (see `runner doctor`)"
            ))),
        },
    }
}

#[cfg(feature = "wgpu")]
fn open_wgpu(index: usize) -> Result<Chosen, ModelError> {
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
    Ok(Chosen {
        device: Device::wgpu(kind),
        name: format!("wgpu:{index} {} ({})", adapter.name, adapter.backend),
        driver: Some(adapter.driver.clone()),
    })
}

#[cfg(not(feature = "wgpu"))]
fn open_wgpu(_: usize) -> Result<Chosen, ModelError> {
    Err(ModelError::Device("this build has no wgpu; build with `--features wgpu`, or use --device cpu".into()))
}

/// What the known-answer test measured; each is the largest absolute difference.
#[derive(Debug, Clone, Copy, serde::Serialize)]
pub struct SelfTest {
    /// Log-probabilities from cached sampling against the full pass on the same device.
    pub cached_vs_full: f32,
    /// Full-pass log-probabilities against the CPU's.
    pub logprobs_vs_cpu: f32,
    /// Gradient of the position embedding against the CPU's.
    pub gradient_vs_cpu: f32,
}

impl SelfTest {
    /// Rounding alone stays below 1e-4 on log-probs of magnitude 10; a wrong kernel is off by more than 0.1.
    pub fn passed(&self) -> bool {
        [self.cached_vs_full, self.logprobs_vs_cpu, self.gradient_vs_cpu].iter().all(|d| *d < 1e-3)
    }
}

/// Runs a small random model with left padding on the device and compares it with itself and with the CPU.
pub fn self_test(device: &Device) -> Result<SelfTest, ModelError> {
    const VOCAB: usize = 67;
    let build = |d: &Device| Gpt2::init(&ModelSize::Test.dimensions(), VOCAB, 7, d);
    let queries = [vec![None, Some(3), Some(9)], vec![Some(60), Some(2), Some(31)]];
    let uniforms = [vec![0.1, 0.9, 0.4, 0.7], vec![0.5, 0.2, 0.8, 0.3], vec![0.6, 0.05, 0.95, 0.45]];
    let args = Sampling {
        queries: &queries,
        k: 2,
        response_length: 3,
        temperature: 0.7,
        uniforms: &uniforms,
        value_head: None,
    };
    let sampled = sample(&build(device), &args)?;
    let rows: Vec<_> = queries.iter().flat_map(|q| [q.clone(), q.clone()]).collect();
    let full = logprobs(&build(device), &rows, &sampled.responses, 0.7)?;
    let reference = logprobs(&build(&Device::flex()), &rows, &sampled.responses, 0.7)?;
    let gradient = |d: &Device| -> Result<Vec<f32>, ModelError> {
        let model = build(d).trainable();
        let batch = Batch::new(&joined(&rows, &sampled.responses), &model.device());
        let hidden = model.hidden_before_last(&batch, 3);
        let lp = model.token_logprobs(hidden, targets(&sampled.responses, &model.device()), 0.7);
        let gradients = lp.mean().backward();
        to_vec(model.wpe.grad(&gradients).ok_or_else(|| ModelError::Device("no gradient".into()))?)
    };
    let flat = |v: &[Vec<f32>]| v.concat();
    Ok(SelfTest {
        cached_vs_full: largest_difference(&flat(&sampled.logprobs), &flat(&full)),
        logprobs_vs_cpu: largest_difference(&flat(&full), &flat(&reference)),
        gradient_vs_cpu: largest_difference(&gradient(device)?, &gradient(&Device::flex())?),
    })
}

/// Largest |a - b|; infinite where lengths differ or a number is NaN.
pub fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    if a.len() != b.len() {
        return f32::INFINITY;
    }
    a.iter().zip(b).map(|(x, y)| (x - y).abs()).fold(0.0, |m, d| if d.is_nan() { f32::INFINITY } else { m.max(d) })
}

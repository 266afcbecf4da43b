//! How fast a device does the three kinds of work, as `runner doctor` measured it, in a small file of the user's cache:
//! `$XDG_CACHE_HOME/runner/throughput.json`, else `~/.cache/runner/throughput.json`.

use super::work::Operations;
use crate::model::device::{ChosenDevice, is_cpu, without_index};
use crate::model::throughput::Rates;
use crate::store::atomic::write_atomic;
use crate::store::user;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The file, by device.
type Kept = BTreeMap<String, Measured>;

/// One device's rates.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// A date, such as 2026-11-25.
    pub date: String,
    /// Of transformers of several widths, narrow ones first.
    pub rates: Vec<Rates>,
}

/// What times are made from.
#[derive(Debug, Clone, PartialEq)]
pub enum Throughput {
    Measured(Measured),
    /// `--tflops`, in operations per second for all kinds of work.
    Given(f64),
    /// There is none, and why.
    Unknown(String),
}

/// How a plan says what its times are made from.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ThroughputPlan {
    /// When the device was measured.
    pub measured: Option<String>,
    /// In words.
    pub from: String,
}

fn file() -> Option<PathBuf> {
    Some(user::cache()?.join("throughput.json"))
}

/// The name that a device is kept under: another processor, driver or number of threads is another device.
pub fn name_of(chosen: &ChosenDevice) -> String {
    if is_cpu(&chosen.device) {
        return format!("cpu, {}, {} threads", processor(), rayon::current_num_threads());
    }
    format!("{}, {}", without_index(&chosen.name), chosen.driver.as_deref().unwrap_or("driver unknown"))
}

/// The processor's model where the system says it.
fn processor() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        text.lines().find_map(|l| l.strip_prefix("model name")?.split_once(':').map(|(_, m)| m.trim().to_string()));
    model.unwrap_or_else(|| std::env::consts::ARCH.into())
}

fn read() -> Kept {
    let text = file().and_then(|path| std::fs::read_to_string(path).ok()).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}

/// Keeps what was measured; where, or why not.
pub fn keep(chosen: &ChosenDevice, rates: Vec<Rates>) -> Result<PathBuf, String> {
    let path = file().ok_or("there is no home directory to keep it in; set XDG_CACHE_HOME")?;
    let date = jiff::Timestamp::now().strftime("%Y-%m-%d").to_string();
    let mut all = read();
    all.insert(name_of(chosen), Measured { date, rates });
    let text = serde_json::to_string_pretty(&all).map_err(|e| e.to_string())?;
    write_atomic(&path, format!("{text}\n").as_bytes()).map_err(|e| format!("{}: {e}", path.display()))?;
    Ok(path)
}

impl Throughput {
    /// Of a device by the name that it is kept under; `None`: it is not in this machine.
    pub fn of(measured_as: Option<&str>, tflops: Option<f64>) -> Self {
        if let Some(tflops) = tflops {
            return Self::Given(tflops * 1e12);
        }
        let Some(name) = measured_as else {
            return Self::Unknown("not measured, since the device is not here; --tflops gives a speed".into());
        };
        match read().remove(name) {
            Some(found) if !found.rates.is_empty() => Self::Measured(found),
            _ => Self::Unknown("not measured on this device; run `runner doctor`, or give --tflops".into()),
        }
    }

    /// Seconds of some work on a transformer of this width.
    pub fn seconds(&self, work: &Operations, width: usize) -> Option<f64> {
        match self {
            Self::Unknown(_) => None,
            Self::Given(rate) => Some(work.total() / rate),
            Self::Measured(measured) => {
                let rates = at(&measured.rates, width);
                Some(work.sampling / rates.sampling + work.forward / rates.forward + work.training / rates.training)
            }
        }
    }

    pub fn plan(&self) -> ThroughputPlan {
        match self {
            Self::Measured(m) => ThroughputPlan {
                measured: Some(m.date.clone()),
                from: format!("measured {} by `runner doctor`", m.date),
            },
            Self::Given(rate) => ThroughputPlan { measured: None, from: format!("--tflops {}", rate / 1e12) },
            Self::Unknown(why) => ThroughputPlan { measured: None, from: why.clone() },
        }
    }
}

/// Rates at a width between those that were measured, on a line in logarithms; beyond them, the nearest.
fn at(rates: &[Rates], width: usize) -> Rates {
    let next = rates.iter().position(|r| r.width >= width);
    let (low, high) = match next {
        Some(0) => (rates[0], rates[0]),
        Some(i) => (rates[i - 1], rates[i]),
        None => (rates[rates.len() - 1], rates[rates.len() - 1]),
    };
    let position = match low.width == high.width {
        true => 0.0,
        false => (width as f64 / low.width as f64).ln() / (high.width as f64 / low.width as f64).ln(),
    };
    let between = |a: f64, b: f64| a.powf(1.0 - position) * b.powf(position);
    Rates {
        width,
        sampling: between(low.sampling, high.sampling),
        forward: between(low.forward, high.forward),
        training: between(low.training, high.training),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(width: usize, rate: f64) -> Rates {
        Rates { width, sampling: rate, forward: 2.0 * rate, training: 4.0 * rate }
    }

    #[test]
    fn times_come_from_the_kind_of_work_and_the_width() {
        let measured = Measured { date: "2026-11-25".into(), rates: vec![rates(64, 1e9), rates(1024, 16e9)] };
        let known = Throughput::Measured(measured);
        let work = Operations { sampling: 16e9, forward: 32e9, training: 64e9 };
        assert_eq!(known.seconds(&work, 1600), Some(3.0));
        assert_eq!(known.seconds(&work, 32), Some(48.0));
        let middle = known.seconds(&work, 256).unwrap();
        assert!((middle - 12.0).abs() < 1e-9, "{middle}");
        assert_eq!(Throughput::Given(112e9).seconds(&work, 64), Some(1.0));
        assert_eq!(known.plan().from, "measured 2026-11-25 by `runner doctor`");
    }

    #[test]
    fn what_was_not_measured_gives_no_time() {
        let unknown = Throughput::of(None, None);
        assert_eq!(unknown.seconds(&Operations::default(), 64), None);
        assert!(unknown.plan().from.contains("--tflops"));
        let other = Throughput::of(Some("no such device"), None);
        assert!(other.plan().from.contains("runner doctor"), "{other:?}");
    }
}

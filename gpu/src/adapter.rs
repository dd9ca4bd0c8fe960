//! Which devices are there, and which one is meant?

use std::str::FromStr;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use crate::GpuError;

/// Which device to compute on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Choice {
    /// A real GPU if there is one, else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// The first adapter whose name contains this, in any case, and all GPUs that are its equals. Software adapters are reached
    /// only this way.
    Named(String),
}

impl FromStr for Choice {
    type Err = std::convert::Infallible;

    /// `auto` (or nothing), `cpu`, else a part of an adapter's name.
    fn from_str(text: &str) -> Result<Choice, Self::Err> {
        Ok(match text.trim() {
            "" => Choice::Auto,
            word if word.eq_ignore_ascii_case("auto") => Choice::Auto,
            word if word.eq_ignore_ascii_case("cpu") => Choice::Cpu,
            name => Choice::Named(name.to_owned()),
        })
    }
}

/// What an adapter says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdapterReport {
    /// Its name, as [`Choice::Named`] takes it.
    pub name: String,
    /// `discrete GPU`, `integrated GPU`, `virtual GPU`, `software` or `other`.
    pub kind: &'static str,
    /// `vulkan`, `metal` or `dx12`.
    pub backend: String,
    /// The driver and its version.
    pub driver: String,
    /// The largest part of a buffer that a kernel can see at once, in bytes.
    pub max_binding_bytes: u64,
    /// The largest buffer, in bytes.
    pub max_buffer_bytes: u64,
}

/// Everything that could be named, software adapters included. Empty where there is no driver.
pub fn adapters() -> Vec<AdapterReport> {
    enumerate().iter().map(report).collect()
}

/// Held while drivers make what they are not safe to make on several threads at once, whatever Vulkan says: instances, devices
/// and pipelines. NVIDIA's corrupts the process's memory (gfx-rs/wgpu issues 5930 and 10234).
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn enumerate() -> Vec<wgpu::Adapter> {
    // one for as long as the process lives: making and dropping them is what drivers are worst at
    static INSTANCE: OnceLock<wgpu::Instance> = OnceLock::new();
    let _alone = alone();
    let instance = INSTANCE.get_or_init(|| {
        let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
        descriptor.backends = wgpu::Backends::PRIMARY;
        // no validation layers and no debug output, in no build
        descriptor.flags = wgpu::InstanceFlags::empty();
        wgpu::Instance::new(descriptor)
    });
    block_on(instance.enumerate_adapters(wgpu::Backends::PRIMARY))
}

pub(crate) fn report(adapter: &wgpu::Adapter) -> AdapterReport {
    let (info, limits) = (adapter.get_info(), adapter.limits());
    AdapterReport {
        kind: kind(info.device_type),
        backend: info.backend.to_str().to_owned(),
        driver: format!("{} {}", info.driver, info.driver_info).trim().to_owned(),
        name: info.name,
        max_binding_bytes: limits.max_storage_buffer_binding_size,
        max_buffer_bytes: limits.max_buffer_size,
    }
}

/// The kind of adapters that are no GPU.
pub(crate) const SOFTWARE: &str = "software";

fn kind(device_type: wgpu::DeviceType) -> &'static str {
    match device_type {
        wgpu::DeviceType::DiscreteGpu => "discrete GPU",
        wgpu::DeviceType::IntegratedGpu => "integrated GPU",
        wgpu::DeviceType::VirtualGpu => "virtual GPU",
        wgpu::DeviceType::Cpu => SOFTWARE,
        wgpu::DeviceType::Other => "other",
    }
}

/// The real GPUs, the likely fastest first, equal ones together.
pub(crate) fn real_gpus() -> Vec<Vec<wgpu::Adapter>> {
    let rank = |adapter: &wgpu::Adapter| match adapter.get_info().device_type {
        wgpu::DeviceType::DiscreteGpu => Some(0),
        wgpu::DeviceType::VirtualGpu => Some(1),
        wgpu::DeviceType::IntegratedGpu => Some(2),
        wgpu::DeviceType::Cpu | wgpu::DeviceType::Other => None,
    };
    let mut real: Vec<_> =
        enumerate().into_iter().filter_map(|adapter| rank(&adapter).map(|rank| (rank, adapter))).collect();
    real.sort_by_key(|(rank, _)| *rank);
    equals(real.into_iter().map(|(_, adapter)| adapter))
}

/// The first adapter whose name contains `wanted`, and its equals.
pub(crate) fn named(wanted: &str) -> Result<Vec<wgpu::Adapter>, GpuError> {
    let all = enumerate();
    let names = all.iter().map(|adapter| adapter.get_info().name).collect();
    let needle = wanted.to_lowercase();
    equals(all)
        .into_iter()
        .find(|group| group[0].get_info().name.to_lowercase().contains(&needle))
        .ok_or_else(|| GpuError::NoAdapter { wanted: wanted.to_owned(), found: names })
}

/// Puts together the cards of one make, which can share work evenly. Each is there once, though several drivers may show it.
fn equals(adapters: impl IntoIterator<Item = wgpu::Adapter>) -> Vec<Vec<wgpu::Adapter>> {
    let make = |info: &wgpu::AdapterInfo| (info.name.clone(), info.backend, info.device_type);
    let mut groups: Vec<Vec<wgpu::Adapter>> = Vec::new();
    for adapter in adapters {
        let info = adapter.get_info();
        let Some(group) = groups.iter_mut().find(|group| make(&group[0].get_info()) == make(&info)) else {
            groups.push(vec![adapter]);
            continue;
        };
        // what has no place on a bus of its own may be a card that is there already, or none at all
        let place = &info.device_pci_bus_id;
        if !place.is_empty() && group.iter().all(|other| other.get_info().device_pci_bus_id != *place) {
            group.push(adapter);
        }
    }
    groups
}

/// Waits for a future on this thread.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    use std::sync::Arc;
    use std::task::{Context, Poll, Wake, Waker};

    struct Unpark(std::thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(value) => return value,
            Poll::Pending => std::thread::park(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_read_from_text() {
        for (text, choice) in [
            ("auto", Choice::Auto),
            ("AUTO", Choice::Auto),
            ("", Choice::Auto),
            ("Cpu", Choice::Cpu),
            (" llvmpipe ", Choice::Named("llvmpipe".to_owned())),
        ] {
            assert_eq!(text.parse(), Ok(choice));
        }
    }

    #[test]
    fn an_unknown_name_lists_what_there_is() {
        let Err(GpuError::NoAdapter { wanted, found }) = named("no such device") else { panic!("there is one?") };
        assert_eq!(wanted, "no such device");
        assert_eq!(found.len(), adapters().len());
    }
}

//! What processor is this?

use crate::simd;

/// `CPU (model, threads, instruction set)`.
pub(crate) fn name() -> String {
    let threads = rayon::current_num_threads();
    let plural = if threads == 1 { "" } else { "s" };
    format!("CPU ({}, {threads} thread{plural}, {})", model(), simd::level())
}

/// The processor's own name, where it can be asked.
#[cfg(target_arch = "x86_64")]
fn model() -> String {
    use std::arch::x86_64::__cpuid;

    const FIRST: u32 = 0x8000_0002;
    const LAST: u32 = 0x8000_0004;
    if __cpuid(0x8000_0000).eax < LAST {
        return std::env::consts::ARCH.to_owned();
    }
    let bytes: Vec<u8> = (FIRST..=LAST)
        .map(__cpuid)
        .flat_map(|part| [part.eax, part.ebx, part.ecx, part.edx])
        .flat_map(u32::to_le_bytes)
        .take_while(|&byte| byte != 0)
        .collect();
    let name = String::from_utf8_lossy(&bytes).split_whitespace().collect::<Vec<_>>().join(" ");
    if name.is_empty() { std::env::consts::ARCH.to_owned() } else { name }
}

#[cfg(not(target_arch = "x86_64"))]
fn model() -> String {
    std::env::consts::ARCH.to_owned()
}

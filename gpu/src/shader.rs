//! The shaders' text: the constants that they share with the CPU twin, then the WGSL.

use std::fmt::Write as _;

use crate::kernel::{EXP2, FLOOR_F32, LARGEST_Z, LOWER, SMALLEST_DIVISOR, SMALLEST_ROOT, Sieve, TAIL_P, TAIL_Q, UPPER};
use crate::segment::Form;
use crate::topk::LEFT_OUT;

/// Invocations of a work group.
pub(crate) const LANES: u32 = 256;
/// Rows that one invocation of the selecting kernels looks at: far below the 65,535 iterations that some drivers end at.
pub(crate) const STEPS: u32 = 16;
/// The radix: bins of one digit.
pub(crate) const BINS: u32 = 2048;
/// Targets of one dispatch of the scoring kernel.
pub(crate) const TARGETS: usize = 4;
/// Invocations of a work group of the kernels for vectors, and rows of a block of their values.
pub(crate) const BLOCK: u32 = 64;
/// Bins of a histogram: one more than edges, and one for rows without a value.
pub(crate) const HISTOGRAM_BINS: u32 = 1026;
/// The bits of the largest finite place, which no key of a row that counts exceeds; those of scores are below them anyway.
pub(crate) const LARGEST_SCORE: u32 = f32::MAX.to_bits() | 1 << 31;
/// The digits of a 32-bit number from the highest: (shift, largest value).
pub(crate) const DIGITS: [(u32, u32); 3] = [(21, 2047), (10, 2047), (0, 1023)];

/// A cell of a column: mean and deviation, both f32.
const SINGLE: &str = "
alias Cell = vec2<f32>;
fn belief_of(cell: Cell, target_at: u32) -> vec2<f32> { return cell; }
";

/// A cell of a column in half precision: see half.rs.
const HALF: &str = "
alias Cell = u32;
fn belief_of(cell: Cell, target_at: u32) -> vec2<f32> {
    return unpack2x16float(cell) * params.targets[target_at].scale + vec2<f32>(params.targets[target_at].offset, 0.0);
}
";

/// The text of the scoring kernel, for columns of a form.
pub(crate) fn score(form: Form) -> String {
    let mut text = String::new();
    for (name, coefficients) in [("P", &TAIL_P[..]), ("Q", &TAIL_Q[..]), ("E", &EXP2[..])] {
        for (power, value) in coefficients.iter().enumerate() {
            float(&mut text, &format!("{name}{power}"), *value);
        }
    }
    float(&mut text, "INVERSE_LARGEST_Z", 1.0 / LARGEST_Z);
    float(&mut text, "SMALLEST_DIVISOR", SMALLEST_DIVISOR);
    float(&mut text, "SMALLEST_ROOT", SMALLEST_ROOT);
    float(&mut text, "QUARTER_LOG2_E", -0.25 * std::f32::consts::LOG2_E);
    float(&mut text, "FLOOR", FLOOR_F32);
    float(&mut text, "SIEVE_ROOM", Sieve::ROOM);
    float(&mut text, "SIEVE_FLOOR_ROOM", Sieve::FLOOR_ROOM);
    unsigned(&mut text, "INFINITY_BITS", f32::INFINITY.to_bits());
    unsigned(&mut text, "LANES", LANES);
    unsigned(&mut text, "LOWER", LOWER);
    unsigned(&mut text, "UPPER", UPPER);
    unsigned(&mut text, "LEFT_OUT", LEFT_OUT);
    text.push_str(match form {
        Form::Single => SINGLE,
        Form::Half => HALF,
    });
    text + include_str!("shaders/score.wgsl")
}

/// The text of the selecting kernels.
pub(crate) fn select() -> String {
    let mut text = String::new();
    unsigned(&mut text, "BINS", BINS);
    unsigned(&mut text, "LANES", LANES);
    unsigned(&mut text, "LEFT_OUT", LEFT_OUT);
    text + include_str!("shaders/select.wgsl")
}

/// The text of the kernel that shortens lists.
pub(crate) fn shortlist() -> String {
    let mut text = String::new();
    unsigned(&mut text, "BINS", BINS);
    unsigned(&mut text, "LANES", LANES);
    unsigned(&mut text, "LEFT_OUT", LEFT_OUT);
    unsigned(&mut text, "LARGEST_SCORE", LARGEST_SCORE);
    text + include_str!("shaders/shortlist.wgsl")
}

/// The text of the counting kernel.
pub(crate) fn histogram() -> String {
    let mut text = String::new();
    unsigned(&mut text, "LANES", LANES);
    unsigned(&mut text, "HISTOGRAM_BINS", HISTOGRAM_BINS);
    float(&mut text, "SMALLEST_NORMAL", f32::MIN_POSITIVE);
    text + include_str!("shaders/histogram.wgsl")
}

// Writing to a String cannot fail.
pub(crate) fn float(text: &mut String, name: &str, value: f32) {
    let _ = writeln!(text, "const {name}: f32 = {value:e}f;");
}

pub(crate) fn unsigned(text: &mut String, name: &str, value: u32) {
    let _ = writeln!(text, "const {name}: u32 = {value}u;");
}

#[cfg(test)]
mod tests {
    use super::*;
    use wgpu::naga;

    #[test]
    fn every_shader_is_valid() {
        // words of two f16 are read by all of Vulkan, Metal and DX12
        let capabilities = naga::valid::Capabilities::SHADER_FLOAT16_IN_FLOAT32;
        for (name, text) in [
            ("score", score(Form::Single)),
            ("score in half precision", score(Form::Half)),
            ("select", select()),
            ("shortlist", shortlist()),
            ("histogram", histogram()),
        ]
        .map(|(name, text)| (name.to_owned(), text))
        .into_iter()
        .chain(crate::wgpu_device::places_kernels().map(|kernel| (format!("{kernel:?}"), kernel.text())))
        {
            let module =
                naga::front::wgsl::parse_str(&text).unwrap_or_else(|e| panic!("{name}: {}", e.emit_to_string(&text)));
            naga::valid::Validator::new(naga::valid::ValidationFlags::all(), capabilities)
                .validate(&module)
                .unwrap_or_else(|e| panic!("{name}: {}", e.emit_to_string(&text)));
        }
    }

    #[test]
    fn digits_cover_32_bits_once() {
        let mut covered = 0u32;
        for (shift, largest) in DIGITS {
            assert!(largest < BINS);
            assert_eq!(covered & (largest << shift), 0);
            covered |= largest << shift;
        }
        assert_eq!(covered, u32::MAX);
        assert_eq!(BINS % LANES, 0);
    }
}

//! The shaders' text: the constants that they share with the CPU twin, then the WGSL.

use std::fmt::Write as _;

use crate::kernel::{EXP2, FLOOR_F32, LARGEST_Z, LOWER, SMALLEST_DIVISOR, SMALLEST_ROOT, TAIL_P, TAIL_Q, UPPER};
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
/// Fours of components that one iteration of the kernels for vectors takes.
const UNROLLED: u32 = 4;
/// Bins of a histogram: one more than edges, and one for rows without a value.
pub(crate) const HISTOGRAM_BINS: u32 = 1026;
/// The digits of a 32-bit number from the highest: (shift, largest value).
pub(crate) const DIGITS: [(u32, u32); 3] = [(21, 2047), (10, 2047), (0, 1023)];

/// The text of the scoring kernel.
pub(crate) fn score() -> String {
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
    unsigned(&mut text, "LANES", LANES);
    unsigned(&mut text, "LOWER", LOWER);
    unsigned(&mut text, "UPPER", UPPER);
    unsigned(&mut text, "LEFT_OUT", LEFT_OUT);
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

/// The text of the kernel for vectors, of which one invocation compares so many rows with so many queries. Where `differences`,
/// it sums up absolute differences, else products.
pub(crate) fn places(rows: u32, queries: u32, differences: bool) -> String {
    let mut text = String::new();
    unsigned(&mut text, "LEFT_OUT", LEFT_OUT);
    text.push_str(include_str!("shaders/places.wgsl"));
    let pairs = || (0..rows).flat_map(|r| (0..queries).map(move |q| (r, q)));
    let mut line = |line: String| {
        text.push_str(&line);
        text.push('\n');
    };
    line(format!("@compute @workgroup_size({BLOCK})"));
    line("fn score(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {".to_owned());
    line(format!("    let last = (params.rows - 1u) / {BLOCK}u;"));
    for r in 0..rows {
        line(format!("    let block_{r} = params.first_block + group.x * {rows}u + {r}u;"));
        // beyond the end the last block is read again, and not answered
        line(format!("    let x_{r} = min(block_{r}, last) * params.fours * {BLOCK}u + lane;"));
    }
    pairs().for_each(|(r, q)| line(format!("    var sum_{r}_{q} = 0.0;")));
    line("    var c = 0u;".to_owned());
    // several fours an iteration: loops cost some drivers as much as what they do
    for steps in [UNROLLED, 1] {
        line(format!("    for (; c + {steps}u <= params.fours; c += {steps}u) {{"));
        for step in 0..steps {
            (0..rows)
                .for_each(|r| line(format!("        let x{r}_{step} = values[x_{r} + (c + {step}u) * {BLOCK}u];")));
            (0..queries).for_each(|q| {
                line(format!(
                    "        let p{q}_{step} = queries[(params.first_query + {q}u) * params.fours + c + {step}u];"
                ));
            });
            for (r, q) in pairs() {
                line(match differences {
                    true => format!("        sum_{r}_{q} += dot(abs(x{r}_{step} - p{q}_{step}), vec4<f32>(1.0));"),
                    false => format!("        sum_{r}_{q} += dot(x{r}_{step}, p{q}_{step});"),
                });
            }
        }
        line("    }".to_owned());
    }
    pairs().for_each(|(r, q)| line(format!("    put(block_{r} * {BLOCK}u + lane, {q}u, sum_{r}_{q});")));
    text.push_str("}\n");
    text
}

/// The text of the counting kernel.
pub(crate) fn histogram() -> String {
    let mut text = String::new();
    unsigned(&mut text, "LANES", LANES);
    unsigned(&mut text, "HISTOGRAM_BINS", HISTOGRAM_BINS);
    text + include_str!("shaders/histogram.wgsl")
}

// Writing to a String cannot fail.
fn float(text: &mut String, name: &str, value: f32) {
    let _ = writeln!(text, "const {name}: f32 = {value:e}f;");
}

fn unsigned(text: &mut String, name: &str, value: u32) {
    let _ = writeln!(text, "const {name}: u32 = {value}u;");
}

#[cfg(test)]
mod tests {
    use super::*;
    use wgpu::naga;

    #[test]
    fn every_shader_is_valid() {
        for (name, text) in [
            ("score", score()),
            ("select", select()),
            ("histogram", histogram()),
            ("one query", places(1, 1, false)),
            ("several queries", places(4, 8, false)),
            ("differences", places(2, 8, true)),
        ] {
            let module =
                naga::front::wgsl::parse_str(&text).unwrap_or_else(|e| panic!("{name}: {}", e.emit_to_string(&text)));
            naga::valid::Validator::new(naga::valid::ValidationFlags::all(), naga::valid::Capabilities::empty())
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

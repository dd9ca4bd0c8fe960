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
/// Steps that one iteration of the kernels for vectors takes.
const UNROLLED: u32 = 4;
/// Comparisons of one invocation from which on steps are not unrolled.
const LARGE_TILE: u32 = 8;
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

/// What a kernel for vectors sums up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Sum {
    /// Products of components.
    Products,
    /// Absolute differences of components.
    Differences,
    /// Products of bytes with components (see [`crate::codes`]).
    Bytes,
}

/// One of the kernels for vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct PlacesKernel {
    pub(crate) sum: Sum,
    /// Rows and queries that one invocation compares.
    pub(crate) rows: u32,
    pub(crate) queries: u32,
    /// Whether the queries of a tile lie in a uniform buffer, which some devices read much faster: there is room for
    /// [`UNIFORM_FOURS`] fours of components.
    pub(crate) uniform: bool,
}

/// Fours of components of all queries of a tile in a uniform buffer: 16 KiB, which every device can bind.
pub(crate) const UNIFORM_FOURS: usize = 1024;

impl PlacesKernel {
    /// Fours of components of a query that one step takes.
    pub(crate) fn fours_of_step(self) -> usize {
        if self.sum == Sum::Bytes { 4 } else { 1 }
    }

    /// The kernel's text.
    pub(crate) fn text(self) -> String {
        let PlacesKernel { sum, rows, queries, uniform } = self;
        let mut text = String::new();
        unsigned(&mut text, "LEFT_OUT", LEFT_OUT);
        text.push_str(include_str!("shaders/places.wgsl"));
        let pairs = || (0..rows).flat_map(|r| (0..queries).map(move |q| (r, q)));
        let mut line = |line: String| {
            text.push_str(&line);
            text.push('\n');
        };
        let (values, terms) = match sum {
            Sum::Bytes => ("vec4<u32>", "vec4<f32>"),
            _ => ("vec4<f32>", "vec2<f32>"),
        };
        line(format!("@group(0) @binding(1) var<storage, read> values: array<{values}>;"));
        // scale, offset and, of bytes, width
        line(format!("@group(0) @binding(2) var<storage, read> terms: array<{terms}>;"));
        line(match uniform {
            true => format!("@group(0) @binding(3) var<uniform> queries: array<vec4<f32>, {UNIFORM_FOURS}>;"),
            false => "@group(0) @binding(3) var<storage, read> queries: array<vec4<f32>>;".to_owned(),
        });
        line("fn place(row: u32, sum: f32) -> f32 {".to_owned());
        line("    let term = terms[row];".to_owned());
        line(match sum {
            Sum::Bytes => "    return sum * term.x + (term.y - term.z * params.length);".to_owned(),
            _ => "    return sum * term.x + term.y;".to_owned(),
        });
        line("}".to_owned());
        if sum == Sum::Bytes {
            line("fn bytes(word: u32) -> vec4<f32> {".to_owned());
            line(
                "    let whole = vec4<i32>(vec4<u32>(word << 24u, word << 16u, word << 8u, word)) >> vec4<u32>(24u);"
                    .to_owned(),
            );
            line("    return vec4<f32>(whole);".to_owned());
            line("}".to_owned());
        }
        line(format!("@compute @workgroup_size({BLOCK})"));
        line(
            "fn score(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {"
                .to_owned(),
        );
        line(format!("    let last = (params.rows - 1u) / {BLOCK}u;"));
        for r in 0..rows {
            line(format!("    let block_{r} = params.first_block + group.x * {rows}u + {r}u;"));
            // beyond the end the last block is read again, and not answered
            line(format!("    let x_{r} = min(block_{r}, last) * params.steps * {BLOCK}u + lane;"));
        }
        let fours = self.fours_of_step();
        for q in 0..queries {
            // a tile of its own lies in a uniform buffer, all queries in one of storage
            let first = if uniform { format!("{q}u") } else { format!("(params.first_query + {q}u)") };
            line(format!("    let q_{q} = {first} * params.steps * {fours}u;"));
        }
        pairs().for_each(|(r, q)| line(format!("    var sum_{r}_{q} = 0.0;")));
        line("    var c = 0u;".to_owned());
        // several steps an iteration: loops cost some drivers as much as what they do; large tiles take long to compile
        let unrolled: &[u32] = if rows * queries > LARGE_TILE { &[1] } else { &[UNROLLED, 1] };
        for &steps in unrolled {
            line(format!("    for (; c + {steps}u <= params.steps; c += {steps}u) {{"));
            for step in 0..steps {
                (0..rows)
                    .for_each(|r| line(format!("        let x{r}_{step} = values[x_{r} + (c + {step}u) * {BLOCK}u];")));
                for (q, four) in (0..queries).flat_map(|q| (0..fours).map(move |four| (q, four))) {
                    line(format!(
                        "        let p{q}_{step}_{four} = queries[q_{q} + (c + {step}u) * {fours}u + {four}u];"
                    ));
                }
                for (r, q) in pairs() {
                    let (x, p) = (format!("x{r}_{step}"), format!("p{q}_{step}"));
                    line(match sum {
                        Sum::Products => format!("        sum_{r}_{q} += dot({x}, {p}_0);"),
                        Sum::Differences => format!("        sum_{r}_{q} += dot(abs({x} - {p}_0), vec4<f32>(1.0));"),
                        Sum::Bytes => {
                            let of = |(four, part)| format!("dot(bytes({x}.{part}), {p}_{four})");
                            let parts: Vec<String> = "xyzw".chars().enumerate().map(of).collect();
                            format!("        sum_{r}_{q} += {};", parts.join(" + "))
                        }
                    });
                }
            }
            line("    }".to_owned());
        }
        pairs().for_each(|(r, q)| line(format!("    put(block_{r} * {BLOCK}u + lane, {q}u, sum_{r}_{q});")));
        text.push_str("}\n");
        text
    }
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
        for (name, text) in [("score", score()), ("select", select()), ("histogram", histogram())]
            .map(|(name, text)| (name.to_owned(), text))
            .into_iter()
            .chain(crate::wgpu_device::places_kernels().map(|kernel| (format!("{kernel:?}"), kernel.text())))
        {
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

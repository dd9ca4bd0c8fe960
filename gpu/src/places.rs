//! The text of the kernels for vectors: the places of rows for queries, by tiles of both.
//!
//! There are two shapes. A **tile** is what one invocation compares, its rows read as they lie and its queries by all at once: for
//! single queries, and for devices that are processors, where workgroup memory is memory like any other (it was twice slower
//! there). A **grid** is what a work group compares, rows and queries both kept in workgroup memory, slab by slab: for batches on
//! a GPU, where a row is read from memory once for 16 to 64 queries.

use crate::shader::{BLOCK, float, unsigned};
use crate::topk::LEFT_OUT;

/// Comparisons of one invocation from which on steps are not unrolled: it would take long to compile.
const LARGE_TILE: u32 = 8;
/// Invocations of a grid in each of its two directions.
pub(crate) const GRID: u32 = 16;
/// Fours of components that a grid keeps of each row and query at once.
const SLAB: u32 = 4;
/// Bytes of workgroup memory of the largest grid: 8 rows and 2 queries each.
pub(crate) const GRID_BYTES: u32 = 16 * SLAB * GRID * (8 + 2);

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

/// How a kernel goes about its comparisons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Shape {
    /// Each invocation by itself.
    Tile {
        /// Whether the queries of a tile lie in a uniform buffer, which some devices read much faster: there is room for
        /// [`UNIFORM_FOURS`] fours of components.
        uniform: bool,
        /// Steps of an iteration. Loops cost some GPUs' drivers as much as what they do; on processors more than one step at
        /// once has no room in registers: lavapipe took two to four times as long by four.
        unrolled: u32,
    },
    /// A work group of [`GRID`] × [`GRID`] invocations together.
    Grid,
}

/// One of the kernels for vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct PlacesKernel {
    pub(crate) sum: Sum,
    /// Rows and queries that one invocation compares.
    pub(crate) rows: u32,
    pub(crate) queries: u32,
    pub(crate) shape: Shape,
}

/// Fours of components of all queries of a tile in a uniform buffer: 16 KiB, which every device can bind.
pub(crate) const UNIFORM_FOURS: usize = 1024;

/// What an invocation of a grid brings from memory for a slab.
struct Brought {
    slab: &'static str,
    /// The variable that holds it on its way.
    name: String,
    /// How many invocations bring one.
    lanes: u32,
    /// The place of the first invocation's.
    place: u32,
    step: String,
    value: String,
}

/// Lines of a text.
struct Lines(String);

impl Lines {
    fn put(&mut self, line: impl AsRef<str>) {
        self.0.push_str(line.as_ref());
        self.0.push('\n');
    }
}

impl PlacesKernel {
    /// Fours of components of a query that one step takes.
    pub(crate) fn fours_of_step(self) -> usize {
        if self.sum == Sum::Bytes { 4 } else { 1 }
    }

    /// Blocks of rows that one work group compares.
    pub(crate) fn blocks(self) -> u32 {
        match self.shape {
            Shape::Tile { .. } => self.rows,
            Shape::Grid => self.rows * GRID / BLOCK,
        }
    }

    /// Queries that one work group compares.
    pub(crate) fn queries_at_once(self) -> u32 {
        match self.shape {
            Shape::Tile { .. } => self.queries,
            Shape::Grid => self.queries * GRID,
        }
    }

    fn pairs(self) -> impl Iterator<Item = (u32, u32)> {
        (0..self.rows).flat_map(move |r| (0..self.queries).map(move |q| (r, q)))
    }

    /// The kernel's text.
    pub(crate) fn text(self) -> String {
        let mut constants = String::new();
        unsigned(&mut constants, "LEFT_OUT", LEFT_OUT);
        float(&mut constants, "LARGEST_PLACE", f32::MAX);
        let mut text = Lines(constants + include_str!("shaders/places.wgsl"));
        let (values, terms) = match self.sum {
            Sum::Bytes => ("vec4<u32>", "vec4<f32>"),
            _ => ("vec4<f32>", "vec2<f32>"),
        };
        text.put(format!("@group(0) @binding(1) var<storage, read> values: array<{values}>;"));
        // scale, offset and, of bytes, width
        text.put(format!("@group(0) @binding(2) var<storage, read> terms: array<{terms}>;"));
        text.put(match self.shape {
            Shape::Tile { uniform: true, .. } => {
                format!("@group(0) @binding(3) var<uniform> queries: array<vec4<f32>, {UNIFORM_FOURS}>;")
            }
            _ => "@group(0) @binding(3) var<storage, read> queries: array<vec4<f32>>;".to_owned(),
        });
        text.put(format!("fn place(term: {terms}, sum: f32) -> f32 {{"));
        text.put(match self.sum {
            Sum::Bytes => "    return sum * term.x + (term.y - term.z * params.length);",
            _ => "    return sum * term.x + term.y;",
        });
        text.put("}");
        match self.shape {
            Shape::Tile { uniform, unrolled } => self.tile(uniform, unrolled, &mut text),
            Shape::Grid => self.grid(&mut text),
        }
        text.0
    }

    fn tile(self, uniform: bool, unrolled: u32, text: &mut Lines) {
        let PlacesKernel { sum, rows, queries, .. } = self;
        if sum == Sum::Bytes {
            text.put("fn bytes(word: u32) -> vec4<f32> {");
            text.put(
                "    let whole = vec4<i32>(vec4<u32>(word << 24u, word << 16u, word << 8u, word)) >> vec4<u32>(24u);",
            );
            text.put("    return vec4<f32>(whole);");
            text.put("}");
        }
        text.put(format!("@compute @workgroup_size({BLOCK})"));
        text.put("fn score(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {");
        text.put(format!("    let last = (params.rows - 1u) / {BLOCK}u;"));
        for r in 0..rows {
            text.put(format!("    let at_{r} = group.x * {rows}u + {r}u;"));
            text.put(format!("    let block_{r} = params.first_block + at_{r} * params.apart;"));
            // beyond the end the last block is read again, and not answered
            text.put(format!("    let x_{r} = min(block_{r}, last) * params.steps * {BLOCK}u + lane;"));
        }
        let fours = self.fours_of_step();
        for q in 0..queries {
            // a tile of its own lies in a uniform buffer, all queries in one of storage
            let first = if uniform { format!("{q}u") } else { format!("(params.first_query + {q}u)") };
            text.put(format!("    let q_{q} = {first} * params.steps * {fours}u;"));
        }
        self.pairs().for_each(|(r, q)| text.put(format!("    var sum_{r}_{q} = 0.0;")));
        text.put("    var c = 0u;");
        let both = [unrolled, 1];
        let loops = if unrolled == 1 || rows * queries > LARGE_TILE { &both[1..] } else { &both[..] };
        for &steps in loops {
            text.put(format!("    for (; c + {steps}u <= params.steps; c += {steps}u) {{"));
            for step in 0..steps {
                for r in 0..rows {
                    text.put(format!("        let x{r}_{step} = values[x_{r} + (c + {step}u) * {BLOCK}u];"));
                }
                for (q, four) in (0..queries).flat_map(|q| (0..fours).map(move |four| (q, four))) {
                    text.put(format!(
                        "        let p{q}_{step}_{four} = queries[q_{q} + (c + {step}u) * {fours}u + {four}u];"
                    ));
                }
                for (r, part) in (0..rows).flat_map(|r| "xyzw".chars().map(move |part| (r, part))) {
                    if sum == Sum::Bytes {
                        text.put(format!("        let b{r}_{step}_{part} = bytes(x{r}_{step}.{part});"));
                    }
                }
                for (r, q) in self.pairs() {
                    let (x, p) = (format!("x{r}_{step}"), format!("p{q}_{step}"));
                    let mut add = |x: &str, p: &str| {
                        for part in "xyzw".chars() {
                            text.put(match sum {
                                Sum::Differences => format!("        sum_{r}_{q} += abs({x}.{part} - {p}.{part});"),
                                _ => format!("        sum_{r}_{q} = fma({x}.{part}, {p}.{part}, sum_{r}_{q});"),
                            });
                        }
                    };
                    match sum {
                        Sum::Bytes => "xyzw".chars().enumerate().for_each(|(four, part)| {
                            add(&format!("b{r}_{step}_{part}"), &format!("{p}_{four}"));
                        }),
                        _ => add(&x, &format!("{p}_0")),
                    }
                }
            }
            text.put("    }");
        }
        for r in 0..rows {
            text.put(format!("    let row_{r} = block_{r} * {BLOCK}u + lane;"));
            text.put(format!("    let slot_{r} = slot(at_{r}, lane);"));
        }
        (0..queries).for_each(|q| text.put(format!("    let query_{q} = {q}u;")));
        self.answers(text);
    }

    fn grid(self, text: &mut Lines) {
        let PlacesKernel { sum, rows, queries, .. } = self;
        let (of_rows, of_queries, lanes) = (rows * GRID, queries * GRID, GRID * GRID);
        text.put(format!("var<workgroup> slab_x: array<vec4<f32>, {}>;", SLAB * of_rows));
        text.put(format!("var<workgroup> slab_p: array<vec4<f32>, {}>;", SLAB * of_queries));
        text.put(format!("@compute @workgroup_size({lanes})"));
        text.put("fn score(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {");
        text.put(format!("    let last = (params.rows - 1u) / {BLOCK}u;"));
        // what this invocation brings from memory: always of the same row, and of the same query
        let first_block = format!("group.y * {}u", self.blocks());
        text.put(format!("    let own_x = lane % {of_rows}u;"));
        text.put(format!("    let own_at = {first_block} + own_x / {BLOCK}u;"));
        text.put("    let own_block = min(params.first_block + own_at * params.apart, last);");
        text.put(format!("    let x_from = own_block * params.steps * {BLOCK}u + own_x % {BLOCK}u;"));
        text.put(format!("    let p_from = group.x * params.steps * {of_queries}u + lane % {of_queries}u;"));
        let brought = [("x", of_rows, BLOCK, "values"), ("p", of_queries, of_queries, "queries")].map(
            |(slab, items, apart, from)| {
                let each = (0..(SLAB * items).div_ceil(lanes)).map(move |at| Brought {
                    slab,
                    name: format!("{slab}_{at}"),
                    // where few are needed, only the first lanes bring some
                    lanes: (SLAB * items).min(lanes),
                    place: at * lanes,
                    step: format!("lane / {items}u + {}u", at * lanes / items),
                    value: format!("{from}[{slab}_from + step * {apart}u]"),
                });
                each.collect::<Vec<_>>()
            },
        );
        let brought: Vec<Brought> = brought.into_iter().flatten().collect();
        let bring = |text: &mut Lines, first: &str, indent: &str| {
            for Brought { name, lanes, step, value, .. } in &brought {
                text.put(format!("{indent}{{"));
                text.put(format!("{indent}    let step = {first} + {step};"));
                text.put(format!("{indent}    {name} = vec4<f32>(0.0);"));
                text.put(format!("{indent}    if lane < {lanes}u && step < params.steps {{ {name} = {value}; }}"));
                text.put(format!("{indent}}}"));
            }
        };
        for Brought { name, .. } in &brought {
            text.put(format!("    var {name} = vec4<f32>(0.0);"));
        }
        self.pairs().for_each(|(r, q)| text.put(format!("    var sum_{r}_{q} = 0.0;")));
        text.put(format!("    let lane_x = lane / {GRID}u;"));
        text.put(format!("    let lane_p = lane % {GRID}u;"));
        bring(text, "0u", "    ");
        text.put(format!("    for (var c = 0u; c < params.steps; c += {SLAB}u) {{"));
        text.put("        workgroupBarrier();");
        for Brought { slab, name, lanes, place, .. } in &brought {
            text.put(format!("        if lane < {lanes}u {{ slab_{slab}[lane + {place}u] = {name}; }}"));
        }
        text.put("        workgroupBarrier();");
        // the next slab is on its way while this one is worked on
        bring(text, &format!("c + {SLAB}u"), "        ");
        // written out: loops cost some drivers as much as what they do
        for k in 0..SLAB {
            text.put("        {");
            for r in 0..rows {
                text.put(format!("            let x{r} = slab_x[lane_x + {}u];", k * of_rows + r * GRID));
            }
            for q in 0..queries {
                text.put(format!("            let p{q} = slab_p[lane_p + {}u];", k * of_queries + q * GRID));
                for (r, part) in (0..rows).flat_map(|r| "xyzw".chars().map(move |part| (r, part))) {
                    text.put(match sum {
                        Sum::Differences => format!("            sum_{r}_{q} += abs(x{r}.{part} - p{q}.{part});"),
                        _ => format!("            sum_{r}_{q} = fma(x{r}.{part}, p{q}.{part}, sum_{r}_{q});"),
                    });
                }
            }
            text.put("        }");
        }
        text.put("    }");
        for r in 0..rows {
            text.put(format!("    let in_group_{r} = lane_x + {}u;", r * GRID));
            text.put(format!("    let at_{r} = {first_block} + in_group_{r} / {BLOCK}u;"));
            text.put(format!("    let in_block_{r} = in_group_{r} % {BLOCK}u;"));
            text.put(format!(
                "    let row_{r} = (params.first_block + at_{r} * params.apart) * {BLOCK}u + in_block_{r};"
            ));
            text.put(format!("    let slot_{r} = slot(at_{r}, in_block_{r});"));
        }
        for q in 0..queries {
            text.put(format!("    let query_{q} = group.x * {of_queries}u + lane_p + {}u;", q * GRID));
        }
        self.answers(text);
    }

    /// The end of a kernel: what is done with the sums.
    fn answers(self, text: &mut Lines) {
        for r in 0..self.rows {
            text.put(format!("    let term_{r} = terms[min(row_{r}, params.rows - 1u)];"));
        }
        for q in 0..self.queries {
            text.put(format!("    let limit_{q} = limit(query_{q});"));
        }
        for (r, q) in self.pairs() {
            text.put(format!("    let place_{r}_{q} = place(term_{r}, sum_{r}_{q});"));
            text.put(format!(
                "    if place_{r}_{q} <= limit_{q} {{ put(row_{r}, slot_{r}, query_{q}, place_{r}_{q}); }}"
            ));
        }
        text.put("}");
    }
}

// How many rows lie between which edges: bin 0 below the first edge, bin i from edge i - 1 on, and one more bin for rows without
// a value. The constants are put before this text.

struct Params {
    rows: u32,      // of the segment
    base: u32,      // the first row of this dispatch
    edges: u32,     // how many
    flags: u32,
    steps: u32,     // rows of one invocation
    lanes: u32,     // invocations of a work group
    pad_0: u32,
    pad_1: u32,
}

const MASKED = 1u;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> column: array<vec2<f32>>;      // mean, sd
@group(0) @binding(2) var<storage, read> mask: array<u32>;
@group(0) @binding(3) var<storage, read> edges: array<f32>;             // ascending
@group(0) @binding(4) var<storage, read_write> counts: array<atomic<u32>>;

var<workgroup> local: array<atomic<u32>, HISTOGRAM_BINS>;

@compute @workgroup_size(LANES)
fn histogram(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let bins = params.edges + 2u;
    for (var bin = lane; bin < bins; bin += params.lanes) {
        atomicStore(&local[bin], 0u);
    }
    workgroupBarrier();
    let start = params.base + group.x * params.lanes * params.steps + lane;
    for (var i = 0u; i < params.steps; i++) {
        let row = start + i * params.lanes;
        if row < params.rows && ((params.flags & MASKED) == 0u || ((mask[row >> 5u] >> (row & 31u)) & 1u) != 0u) {
            let belief = column[row];
            var bin = params.edges + 1u;
            if belief.y >= 0.0 {
                // subnormal numbers count as zero
                let mean = select(belief.x, 0.0, abs(belief.x) < SMALLEST_NORMAL);
                // the number of edges that are not above the value
                var low = 0u;
                var high = params.edges;
                while low < high {
                    let middle = (low + high) / 2u;
                    if edges[middle] <= mean {
                        low = middle + 1u;
                    } else {
                        high = middle;
                    }
                }
                bin = low;
            }
            atomicAdd(&local[bin], 1u);
        }
    }
    workgroupBarrier();
    for (var bin = lane; bin < bins; bin += params.lanes) {
        let some = atomicLoad(&local[bin]);
        if some != 0u {
            atomicAdd(&counts[bin], some);
        }
    }
}

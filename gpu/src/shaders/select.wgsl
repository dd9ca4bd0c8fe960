// The k smallest keys (score bits, row number) of each query, exactly: a radix select over the bits of the score, then, for the
// rows that tie at the k-th score, over the bits of the row number. Each digit takes `count` over all segments, then `choose`
// once; `collect` copies what was found, up to the cut that was chosen here, or that was given. The second dimension of a
// dispatch is the query. The constants are put before this text.

struct Params {
    rows: u32,          // of the segment
    base: u32,          // the first row of this dispatch, in the segment
    first_row: u32,     // the segment's first row, in the column
    steps: u32,         // rows of one invocation
    shift: u32,         // where the digit lies
    bins: u32,          // the digit's largest value
    phase: u32,
    k: u32,
    lanes: u32,         // invocations of a work group
    bins_per_lane: u32,
    stride: u32,        // scores of one query in the segment
    pad: u32,
}

struct State {
    // a key counts while (its digits so far & decided) == prefix
    prefix: u32,
    decided: u32,
    needed: u32,        // keys still wanted of those that count
    done: u32,          // the cut is known
    score_cut: u32,     // keys up to and with (score_cut, row_cut) are selected
    row_cut: u32,
}

const ON_ROWS = 1u;     // the digit is one of the row number
const FIRST = 2u;       // the first digit of all
const LAST_OF_SCORE = 4u;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> scores: array<u32>;
@group(0) @binding(2) var<storage, read_write> histogram: array<atomic<u32>>;     // BINS of each query
@group(0) @binding(3) var<storage, read_write> states: array<State>;                // of each query
@group(0) @binding(4) var<storage, read_write> counts: array<atomic<u32>>;          // of each query
@group(0) @binding(5) var<storage, read_write> keys: array<vec2<u32>>;              // score bits, row number; k of each query

var<workgroup> local: array<atomic<u32>, BINS>;
var<workgroup> sums: array<u32, LANES>;

@compute @workgroup_size(LANES)
fn count(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let query = group.y;
    let state = states[query];
    if state.done == 0u {
        for (var i = 0u; i < params.bins_per_lane; i++) {
            atomicStore(&local[lane * params.bins_per_lane + i], 0u);
        }
    }
    workgroupBarrier();
    if state.done == 0u {
        let start = params.base + group.x * params.lanes * params.steps + lane;
        let on_rows = (params.phase & ON_ROWS) != 0u;
        for (var i = 0u; i < params.steps; i++) {
            let row = start + i * params.lanes;
            if row < params.rows {
                let bits = scores[query * params.stride + row];
                let digits = select(bits, params.first_row + row, on_rows);
                let in_tie = !on_rows || bits == state.score_cut;
                if bits != LEFT_OUT && in_tie && (digits & state.decided) == state.prefix {
                    atomicAdd(&local[(digits >> params.shift) & params.bins], 1u);
                }
            }
        }
    }
    workgroupBarrier();
    if state.done == 0u {
        for (var i = 0u; i < params.bins_per_lane; i++) {
            let bin = lane * params.bins_per_lane + i;
            let some = atomicLoad(&local[bin]);
            if some != 0u {
                atomicAdd(&histogram[query * BINS + bin], some);
            }
        }
    }
}

@compute @workgroup_size(LANES)
fn choose(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let query = group.x;
    let first_bin = query * BINS + lane * params.bins_per_lane;
    var own = 0u;
    for (var i = 0u; i < params.bins_per_lane; i++) {
        own += atomicLoad(&histogram[first_bin + i]);
    }
    // sums up to and with each lane
    sums[lane] = own;
    workgroupBarrier();
    for (var reach = 1u; reach < params.lanes; reach = reach * 2u) {
        var more = 0u;
        if lane >= reach {
            more = sums[lane - reach];
        }
        workgroupBarrier();
        sums[lane] += more;
        workgroupBarrier();
    }
    let all = sums[params.lanes - 1u];
    let upto = sums[lane];
    let done = states[query].done;
    let decided = states[query].decided;
    let prefix = states[query].prefix;
    var needed = states[query].needed;
    if (params.phase & FIRST) != 0u {
        needed = params.k;
    }
    // every lane has read the state before one of them writes it
    storageBarrier();
    workgroupBarrier();
    if done == 0u {
        if all <= needed {
            if lane == 0u {
                // everything that counts: only at the first digit, afterwards the chosen bin holds more than is needed
                states[query].done = 1u;
                states[query].score_cut = LEFT_OUT - 1u;
                states[query].row_cut = LEFT_OUT;
            }
        } else if upto >= needed && upto - own < needed {
            // exactly one lane: the k-th smallest is in one of its bins
            var below = upto - own;
            var bin = 0u;
            var here = 0u;
            for (var i = 0u; i < params.bins_per_lane; i++) {
                here = atomicLoad(&histogram[first_bin + i]);
                bin = lane * params.bins_per_lane + i;
                if below + here >= needed {
                    break;
                }
                below += here;
            }
            needed -= below;
            let new_prefix = prefix | (bin << params.shift);
            let new_decided = decided | (params.bins << params.shift);
            if (params.phase & ON_ROWS) != 0u {
                if here == needed {
                    states[query].done = 1u;
                    states[query].row_cut = new_prefix | ~new_decided;
                }
                states[query].prefix = new_prefix;
                states[query].decided = new_decided;
            } else if here == needed {
                states[query].done = 1u;
                states[query].score_cut = new_prefix | ~new_decided;
                states[query].row_cut = LEFT_OUT;
            } else if (params.phase & LAST_OF_SCORE) != 0u {
                states[query].score_cut = new_prefix;
                states[query].prefix = 0u;
                states[query].decided = 0u;
            } else {
                states[query].prefix = new_prefix;
                states[query].decided = new_decided;
            }
            states[query].needed = needed;
        }
    }
    storageBarrier();
    workgroupBarrier();
    for (var i = 0u; i < params.bins_per_lane; i++) {
        atomicStore(&histogram[first_bin + i], 0u);
    }
}

@compute @workgroup_size(LANES)
fn collect(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let query = group.y;
    let score_cut = states[query].score_cut;
    let row_cut = states[query].row_cut;
    let start = params.base + group.x * params.lanes * params.steps + lane;
    for (var i = 0u; i < params.steps; i++) {
        let row = start + i * params.lanes;
        if row < params.rows {
            let bits = scores[query * params.stride + row];
            let global_row = params.first_row + row;
            if bits < score_cut || (bits == score_cut && global_row <= row_cut) {
                let place = atomicAdd(&counts[query], 1u);
                if place < params.k {
                    keys[query * params.k + place] = vec2<u32>(bits, global_row);
                }
            }
        }
    }
}

// The k smallest keys (score bits, row number), exactly: a radix select over the bits of the score, then, for the rows that
// tie at the k-th score, over the bits of the row number. Each digit takes `count` over all segments, then `choose` once;
// `collect` copies what was found. The constants are put before this text.

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

struct Found {
    count: atomic<u32>,
    pad: u32,
    keys: array<vec2<u32>>,     // score bits, row number
}

const ON_ROWS = 1u;     // the digit is one of the row number
const FIRST = 2u;       // the first digit of all
const LAST_OF_SCORE = 4u;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> scores: array<u32>;
@group(0) @binding(2) var<storage, read_write> histogram: array<atomic<u32>, BINS>;
@group(0) @binding(3) var<storage, read_write> state: State;
@group(0) @binding(4) var<storage, read_write> found: Found;

var<workgroup> local: array<atomic<u32>, BINS>;
var<workgroup> sums: array<u32, LANES>;

@compute @workgroup_size(LANES)
fn count(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    for (var i = 0u; i < params.bins_per_lane; i++) {
        atomicStore(&local[lane * params.bins_per_lane + i], 0u);
    }
    workgroupBarrier();
    if state.done == 0u {
        let start = params.base + group.x * params.lanes * params.steps + lane;
        let on_rows = (params.phase & ON_ROWS) != 0u;
        for (var i = 0u; i < params.steps; i++) {
            let row = start + i * params.lanes;
            if row < params.rows {
                let bits = scores[row];
                let digits = select(bits, params.first_row + row, on_rows);
                let in_tie = !on_rows || bits == state.score_cut;
                if bits != LEFT_OUT && in_tie && (digits & state.decided) == state.prefix {
                    atomicAdd(&local[(digits >> params.shift) & params.bins], 1u);
                }
            }
        }
    }
    workgroupBarrier();
    for (var i = 0u; i < params.bins_per_lane; i++) {
        let bin = lane * params.bins_per_lane + i;
        let some = atomicLoad(&local[bin]);
        if some != 0u {
            atomicAdd(&histogram[bin], some);
        }
    }
}

@compute @workgroup_size(LANES)
fn choose(@builtin(local_invocation_index) lane: u32) {
    let first_bin = lane * params.bins_per_lane;
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
    let done = state.done;
    let decided = state.decided;
    let prefix = state.prefix;
    var needed = state.needed;
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
                state.done = 1u;
                state.score_cut = LEFT_OUT - 1u;
                state.row_cut = LEFT_OUT;
            }
        } else if upto >= needed && upto - own < needed {
            // exactly one lane: the k-th smallest is in one of its bins
            var below = upto - own;
            var bin = first_bin;
            var here = 0u;
            for (var i = 0u; i < params.bins_per_lane; i++) {
                here = atomicLoad(&histogram[first_bin + i]);
                bin = first_bin + i;
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
                    state.done = 1u;
                    state.row_cut = new_prefix | ~new_decided;
                }
                state.prefix = new_prefix;
                state.decided = new_decided;
            } else if here == needed {
                state.done = 1u;
                state.score_cut = new_prefix | ~new_decided;
                state.row_cut = LEFT_OUT;
            } else if (params.phase & LAST_OF_SCORE) != 0u {
                state.score_cut = new_prefix;
                state.prefix = 0u;
                state.decided = 0u;
            } else {
                state.prefix = new_prefix;
                state.decided = new_decided;
            }
            state.needed = needed;
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
    let start = params.base + group.x * params.lanes * params.steps + lane;
    for (var i = 0u; i < params.steps; i++) {
        let row = start + i * params.lanes;
        if row < params.rows {
            let bits = scores[row];
            let global_row = params.first_row + row;
            if bits < state.score_cut || (bits == state.score_cut && global_row <= state.row_cut) {
                let place = atomicAdd(&found.count, 1u);
                if place < params.k {
                    found.keys[place] = vec2<u32>(bits, global_row);
                }
            }
        }
    }
}

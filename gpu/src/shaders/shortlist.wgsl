// Lowers the cut of each query to the k-th smallest of the keys (score bits, row number) in its list, and empties the list; or, at
// last, copies the k smallest. One work group a query. A radix select as in select.wgsl, but of one list by one work group, and a
// cut that lets a few more keys through will do where it is not the last. The constants are put before this text.

struct Params {
    capacity: u32,      // places of one list
    given: u32,         // keys lie at so many places, whatever was counted; 0: as many as were counted
    k: u32,
    flags: u32,
    lanes: u32,         // invocations of a work group
    bins_per_lane: u32,
    pad_0: u32,
    pad_1: u32,
}

struct Line {
    count: atomic<u32>, // keys that were put in the list, or had no room there
    score_cut: u32,     // keys up to and with (score_cut, row_cut) are put in the list
    row_cut: u32,
    chosen: u32,        // keys that were copied at last
}

const FIRST = 1u;       // there is no cut yet
const LAST = 2u;        // copy
const EMPTY = 4u;       // there are no keys yet

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> lines: array<Line>;
@group(0) @binding(2) var<storage, read> lists: array<vec2<u32>>;          // score bits, row number
@group(0) @binding(3) var<storage, read_write> answer: array<vec2<u32>>;   // k of each query

var<workgroup> bins: array<atomic<u32>, BINS>;
var<workgroup> sums: array<u32, LANES>;
var<workgroup> done: u32;
var<workgroup> prefix: u32;
var<workgroup> decided: u32;
var<workgroup> needed: u32;
var<workgroup> score_cut: u32;
var<workgroup> row_cut: u32;
var<workgroup> chosen: atomic<u32>;

@compute @workgroup_size(LANES)
fn shorten(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let query = group.x;
    let first = query * params.capacity;
    var count = params.given;
    if count == 0u {
        count = min(atomicLoad(&lines[query].count), params.capacity);
    }
    if (params.flags & EMPTY) != 0u {
        count = 0u;
    }
    if lane == 0u {
        done = 0u;
        prefix = 0u;
        decided = 0u;
        needed = params.k;
        score_cut = LARGEST_SCORE;
        row_cut = LEFT_OUT;
        if (params.flags & FIRST) == 0u {
            score_cut = lines[query].score_cut;
            row_cut = lines[query].row_cut;
        }
        atomicStore(&chosen, 0u);
    }
    var slack = params.k / 4u;
    if (params.flags & LAST) != 0u {
        slack = 0u;
    }
    workgroupBarrier();
    for (var digit = 0u; digit < 6u; digit++) {
        if workgroupUniformLoad(&done) != 0u {
            break;
        }
        let on_rows = digit >= 3u;
        // digits of 11, 11 and 10 bits
        var shift = 21u - 11u * (digit % 3u);
        var largest = 2047u;
        if digit % 3u == 2u {
            shift = 0u;
            largest = 1023u;
        }
        for (var bin = lane; bin < BINS; bin += params.lanes) {
            atomicStore(&bins[bin], 0u);
        }
        workgroupBarrier();
        for (var at = lane; at < count; at += params.lanes) {
            let key = lists[first + at];
            let digits = select(key.x, key.y, on_rows);
            if key.x != LEFT_OUT && (!on_rows || key.x == score_cut) && (digits & decided) == prefix {
                atomicAdd(&bins[(digits >> shift) & largest], 1u);
            }
        }
        workgroupBarrier();
        let first_bin = lane * (BINS / LANES);
        var own = 0u;
        for (var i = 0u; i < params.bins_per_lane; i++) {
            own += atomicLoad(&bins[first_bin + i]);
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
        let all = sums[LANES - 1u];
        let upto = sums[lane];
        let wanted = needed;
        // every lane has read them before one of them writes
        workgroupBarrier();
        if all <= wanted {
            // only at the first digit: afterwards the chosen bin holds more than is needed. The cut stays as it was
            if lane == 0u {
                done = 1u;
            }
        } else if upto >= wanted && upto - own < wanted {
            // exactly one lane: the k-th smallest is in one of its bins
            var below = upto - own;
            var bin = 0u;
            var here = 0u;
            for (var i = 0u; i < params.bins_per_lane; i++) {
                here = atomicLoad(&bins[first_bin + i]);
                bin = first_bin + i;
                if below + here >= wanted {
                    break;
                }
                below += here;
            }
            let left = wanted - below;
            needed = left;
            let new_prefix = prefix | (bin << shift);
            let new_decided = decided | (largest << shift);
            let enough = here <= left + slack;
            prefix = new_prefix;
            decided = new_decided;
            if on_rows {
                row_cut = new_prefix | ~new_decided;
            } else {
                score_cut = new_prefix | ~new_decided;
                row_cut = LEFT_OUT;
            }
            if enough {
                done = 1u;
            } else if digit == 2u {
                // many of this very score: rows decide
                prefix = 0u;
                decided = 0u;
            }
        }
        workgroupBarrier();
    }
    workgroupBarrier();
    if (params.flags & LAST) != 0u {
        for (var at = lane; at < count; at += params.lanes) {
            let key = lists[first + at];
            if key.x != LEFT_OUT && (key.x < score_cut || (key.x == score_cut && key.y <= row_cut)) {
                let place = atomicAdd(&chosen, 1u);
                if place < params.k {
                    answer[query * params.k + place] = key;
                }
            }
        }
    }
    workgroupBarrier();
    if lane == 0u {
        lines[query].score_cut = score_cut;
        lines[query].row_cut = row_cut;
        lines[query].chosen = atomicLoad(&chosen);
        if (params.flags & LAST) == 0u {
            atomicStore(&lines[query].count, 0u);
        }
    }
}

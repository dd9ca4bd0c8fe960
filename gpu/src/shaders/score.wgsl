// The score of rows: Σ weight shortfall² / Σ weight, as bits that order like it. They go to the row's place among all, or, with
// the row's number, into a short list (see shortlist.wgsl): all rows of a sample at places of their own, or those up to a cut one
// after the other. Where there is a cut, a row whose means alone are too far outside is passed over, as by the CPU twin.
// Up to four targets a dispatch; more of them go through `partial`. The constants, and what a cell of a column is, are put before
// this text.

struct Target {
    lo: f32,
    hi: f32,
    inv_tolerance: f32,
    limit: f32,
    weight: f32,
    missing_weight: f32,
    fill_mean: f32,
    fill_sd: f32,
    sides: u32,
    missing_least: f32,     // what the squared shortfall of rows without a value is at least
    scale: f32,             // of columns in half precision
    offset: f32,
}

struct Params {
    rows: u32,      // of the segment
    base: u32,      // the first block of 64 rows of this dispatch
    targets_used: u32,
    flags: u32,
    blocks: u32,    // of this dispatch
    stride: u32,    // from one of its blocks to the next
    first_row: u32, // the segment's first row, in the column
    slot: u32,      // where the keys of this dispatch begin, in the list of a sample
    capacity: u32,  // of a list
    pad_0: u32,
    pad_1: u32,
    pad_2: u32,
    targets: array<Target, 4>,
}

const MASKED = 1u;      // look at the mask
const FIRST = 2u;       // sums start at zero
const LAST = 4u;        // write the score
const SAMPLED = 8u;     // into a list, at the row's own place
const LISTED = 16u;     // into a list, up to the cut

struct Line {
    count: atomic<u32>,
    score_cut: u32,
    row_cut: u32,
    chosen: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> mask: array<u32>;
@group(0) @binding(2) var<storage, read_write> scores: array<u32>;      // of all rows; or a list: score bits, row number
@group(0) @binding(3) var<storage, read_write> partial: array<vec2<f32>>;
@group(0) @binding(4) var<storage, read> column_0: array<Cell>;    // mean, sd
@group(0) @binding(5) var<storage, read> column_1: array<Cell>;
@group(0) @binding(6) var<storage, read> column_2: array<Cell>;
@group(0) @binding(7) var<storage, read> column_3: array<Cell>;
@group(0) @binding(8) var<storage, read_write> lines: array<Line>;

// 2^x for -120 <= x <= 0
fn exp2_of(x: f32) -> f32 {
    let whole = floor(x + 0.5);
    let f = x - whole;
    let p = (((((E6 * f + E5) * f + E4) * f + E3) * f + E2) * f + E1) * f + E0;
    return p * bitcast<f32>((i32(whole) + 127) << 23u);
}

// E[max(Y, 0)²] in squared tolerances, Y ~ Normal(m, sd)
fn squared_excess(m: f32, sd: f32, inv_tolerance: f32, limit: f32) -> f32 {
    let size = abs(m);
    let z = size / max(max(sd, size * INVERSE_LARGEST_Z), SMALLEST_DIVISOR);
    let half = exp2_of(z * z * QUARTER_LOG2_E);
    let deviation = min(sd, limit) * inv_tolerance;
    var root = deviation * half;
    root = select(root, 0.0, root < SMALLEST_ROOT);
    let p = ((P3 * z + P2) * z + P1) * z + P0;
    let q = (((((Q6 * z + Q5) * z + Q4) * z + Q3) * z + Q2) * z + Q1) * z + Q0;
    let tail = root * root * (p / q);
    let distance = min(size, limit) * inv_tolerance;
    let above = distance * distance + (deviation * deviation - tail);
    return select(tail, above, m > 0.0);
}

fn answer(row: u32, slot: u32, bits: u32) {
    if (params.flags & LISTED) != 0u {
        let key = params.first_row + row;
        let cut = lines[0].score_cut;
        if bits != LEFT_OUT && (bits < cut || (bits == cut && key <= lines[0].row_cut)) {
            let at = atomicAdd(&lines[0].count, 1u);
            if at < params.capacity {
                scores[2u * at] = bits;
                scores[2u * at + 1u] = key;
            }
        }
    } else if (params.flags & SAMPLED) != 0u {
        scores[2u * slot] = bits;
        scores[2u * slot + 1u] = params.first_row + row;
    } else {
        scores[row] = bits;
    }
}

@compute @workgroup_size(LANES)
fn score(@builtin(global_invocation_id) at: vec3<u32>) {
    let block = at.x >> 6u;
    if block >= params.blocks {
        return;
    }
    let row = (params.base + block * params.stride) * 64u + (at.x & 63u);
    let slot = params.slot + at.x;
    let last = (params.flags & LAST) != 0u;
    let sampled = (params.flags & SAMPLED) != 0u;
    if row >= params.rows {
        if last && sampled {
            answer(row, slot, LEFT_OUT);
        }
        return;
    }
    if (params.flags & MASKED) != 0u && ((mask[row >> 5u] >> (row & 31u)) & 1u) == 0u {
        if last && (params.flags & LISTED) == 0u {
            answer(row, slot, LEFT_OUT);
        }
        return;
    }
    // all at once, so that they are on their way together
    let cell_0 = column_0[row];
    var cell_1 = Cell();
    var cell_2 = Cell();
    var cell_3 = Cell();
    if params.targets_used > 1u {
        cell_1 = column_1[row];
    }
    if params.targets_used > 2u {
        cell_2 = column_2[row];
    }
    if params.targets_used > 3u {
        cell_3 = column_3[row];
    }
    let belief_0 = belief_of(cell_0, 0u);
    let belief_1 = belief_of(cell_1, 1u);
    let belief_2 = belief_of(cell_2, 2u);
    let belief_3 = belief_of(cell_3, 3u);
    if (params.flags & (LISTED | FIRST | LAST)) == (LISTED | FIRST | LAST) {
        let cut = lines[0].score_cut;
        if cut < INFINITY_BITS {
            let allowed = bitcast<f32>(cut) * (1.0 + SIEVE_ROOM) + SIEVE_FLOOR_ROOM;
            var sum = 0.0;
            var limit = 0.0;
            for (var t = 0u; t < params.targets_used; t++) {
                var belief = belief_0;
                switch t {
                    case 0u: {}
                    case 1u: { belief = belief_1; }
                    case 2u: { belief = belief_2; }
                    default: { belief = belief_3; }
                }
                let p = params.targets[t];
                let missing = belief.y < 0.0;
                let weight = select(p.weight, p.missing_weight, missing);
                var outside = 0.0;
                if (p.sides & LOWER) != 0u {
                    outside = max(outside, p.lo - belief.x);
                }
                if (p.sides & UPPER) != 0u {
                    outside = max(outside, belief.x - p.hi);
                }
                let distance = min(outside, p.limit) * p.inv_tolerance;
                sum += weight * select(distance * distance, p.missing_least, missing);
                limit += weight * allowed;
            }
            if sum > limit {
                return;
            }
        }
    }
    var total = vec2<f32>(0.0, 0.0);
    if (params.flags & FIRST) == 0u {
        total = partial[row];
    }
    for (var t = 0u; t < params.targets_used; t++) {
        var belief = belief_0;
        switch t {
            case 0u: {}
            case 1u: { belief = belief_1; }
            case 2u: { belief = belief_2; }
            default: { belief = belief_3; }
        }
        let p = params.targets[t];
        let missing = belief.y < 0.0;
        belief = select(belief, vec2<f32>(p.fill_mean, p.fill_sd), missing);
        let weight = select(p.weight, p.missing_weight, missing);
        var shortfall = 0.0;
        if (p.sides & LOWER) != 0u {
            shortfall += squared_excess(p.lo - belief.x, belief.y, p.inv_tolerance, p.limit);
        }
        if (p.sides & UPPER) != 0u {
            shortfall += squared_excess(belief.x - p.hi, belief.y, p.inv_tolerance, p.limit);
        }
        shortfall = select(shortfall, 0.0, shortfall < FLOOR);
        total += vec2<f32>(weight * shortfall, weight);
    }
    if !last {
        partial[row] = total;
        return;
    }
    var bits = LEFT_OUT;
    if total.y > 0.0 {
        bits = bitcast<u32>(total.x / total.y);
    }
    answer(row, slot, bits);
}

// The score of every row: Σ weight shortfall² / Σ weight, as bits that order like it.
// Up to four targets a dispatch; more of them go through `partial`. The constants are put before this text.

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
    pad_0: u32,
    pad_1: u32,
    pad_2: u32,
}

struct Params {
    rows: u32,      // of the segment
    base: u32,      // the first row of this dispatch
    targets_used: u32,
    flags: u32,
    targets: array<Target, 4>,
}

const MASKED = 1u;      // look at the mask
const FIRST = 2u;       // sums start at zero
const LAST = 4u;        // write the score

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> mask: array<u32>;
@group(0) @binding(2) var<storage, read_write> scores: array<u32>;
@group(0) @binding(3) var<storage, read_write> partial: array<vec2<f32>>;
@group(0) @binding(4) var<storage, read> column_0: array<vec2<f32>>;    // mean, sd
@group(0) @binding(5) var<storage, read> column_1: array<vec2<f32>>;
@group(0) @binding(6) var<storage, read> column_2: array<vec2<f32>>;
@group(0) @binding(7) var<storage, read> column_3: array<vec2<f32>>;

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

@compute @workgroup_size(LANES)
fn score(@builtin(global_invocation_id) at: vec3<u32>) {
    let row = params.base + at.x;
    if row >= params.rows {
        return;
    }
    if (params.flags & MASKED) != 0u && ((mask[row >> 5u] >> (row & 31u)) & 1u) == 0u {
        if (params.flags & LAST) != 0u {
            scores[row] = LEFT_OUT;
        }
        return;
    }
    var total = vec2<f32>(0.0, 0.0);
    if (params.flags & FIRST) == 0u {
        total = partial[row];
    }
    for (var t = 0u; t < params.targets_used; t++) {
        var belief: vec2<f32>;
        switch t {
            case 0u: { belief = column_0[row]; }
            case 1u: { belief = column_1[row]; }
            case 2u: { belief = column_2[row]; }
            default: { belief = column_3[row]; }
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
    if (params.flags & LAST) == 0u {
        partial[row] = total;
    } else if total.y > 0.0 {
        scores[row] = bitcast<u32>(total.x / total.y);
    } else {
        scores[row] = LEFT_OUT;
    }
}

// The places of rows for queries (see margin.rs): scale * sum + offset, as bits that order like it. Generated text: see
// `shader::places`. Rows lie in blocks of 64, component by component in fours: values[(block * fours + c) * 64 + row in block].

struct Params {
    rows: u32,          // of the segment
    first_row: u32,     // the segment's first row, among all
    first_block: u32,   // of this dispatch
    fours: u32,         // components / 4, rounded up
    first_query: u32,   // of this dispatch
    queries: u32,       // of this dispatch
    stride: u32,        // places of one query in the segment
    flags: u32,
    mask_words: u32,    // of each query's mask; 0 where all have the same
    pad_0: u32,
    pad_1: u32,
    pad_2: u32,
}

const MASKED = 1u;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> values: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> terms: array<vec2<f32>>;       // scale, offset
@group(0) @binding(3) var<storage, read> queries: array<vec4<f32>>;     // query by query, a whole number of tiles
@group(0) @binding(4) var<storage, read> mask: array<u32>;
@group(0) @binding(5) var<storage, read> left_out: array<u32>;          // a row of each query
@group(0) @binding(6) var<storage, read_write> places: array<u32>;

fn put(row: u32, tile_query: u32, sum: f32) {
    if row >= params.rows || tile_query >= params.queries {
        return;
    }
    let query = params.first_query + tile_query;
    let word = query * params.mask_words + (row >> 5u);
    let allowed = (params.flags & MASKED) == 0u || ((mask[word] >> (row & 31u)) & 1u) != 0u;
    var key = LEFT_OUT;
    if allowed && left_out[query] != params.first_row + row {
        let term = terms[row];
        let bits = bitcast<u32>(sum * term.x + term.y);
        key = select(bits | 0x80000000u, ~bits, (bits >> 31u) == 1u);
    }
    places[query * params.stride + row] = key;
}


// The places of rows for queries (see margin.rs): scale * sum + offset, as bits that order like it. Generated text: see
// `shader::places`, which also declares `values`, `terms` and `queries`. Rows lie in blocks of 64, step by step, where a step is four
// components, or sixteen as bytes: values[(block * steps + c) * 64 + row in block].

struct Params {
    rows: u32,          // of the segment
    first_row: u32,     // the segment's first row, among all
    first_block: u32,   // of this dispatch
    steps: u32,         // of a row
    first_query: u32,   // of this dispatch
    queries: u32,       // of this dispatch
    stride: u32,        // places of one query in the segment
    flags: u32,
    mask_words: u32,    // of each query's mask; 0 where all have the same
    length: f32,        // of the query, where rows are bytes
    pad_0: u32,
    pad_1: u32,
}

const MASKED = 1u;

@group(0) @binding(0) var<uniform> params: Params;
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
        let bits = bitcast<u32>(place(row, sum));
        key = select(bits | 0x80000000u, ~bits, (bits >> 31u) == 1u);
    }
    places[query * params.stride + row] = key;
}


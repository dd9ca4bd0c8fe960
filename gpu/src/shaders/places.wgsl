// The places of rows for queries (see margin.rs): scale * sum + offset, as bits that order like it. They go to the row's place among
// all, or, with the row's number, into a short list of the query (see shortlist.wgsl): all rows of a sample at places of their
// own, or those up to the query's cut one after the other. Generated text: see `places.rs`, which also declares `values`, `terms`
// and `queries`. Rows lie in blocks of 64, step by step, where a step is four components, or sixteen as bytes:
// values[(block * steps + c) * 64 + row in block].

struct Params {
    rows: u32,          // of the segment
    first_row: u32,     // the segment's first row, among all
    first_block: u32,   // of this dispatch
    steps: u32,         // of a row
    first_query: u32,   // of this dispatch
    queries: u32,       // of this dispatch
    stride: u32,        // places of one query in the segment, or of one list
    flags: u32,
    mask_words: u32,    // of each query's mask; 0 where all have the same
    length: f32,        // of the query, where rows are bytes
    blocks: u32,        // of this dispatch
    apart: u32,         // from one of its blocks to the next
    slot: u32,          // where the keys of this dispatch begin, in the list of a sample
    pad_0: u32,
    pad_1: u32,
    pad_2: u32,
}

const MASKED = 1u;
const SAMPLED = 2u;     // into a list, at the row's own place
const LISTED = 4u;      // into a list, up to the cut
const NO_SLOT = 0xffffffffu;

struct Line {
    count: atomic<u32>,
    score_cut: u32,
    row_cut: u32,
    chosen: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(4) var<storage, read> mask: array<u32>;
@group(0) @binding(5) var<storage, read> left_out: array<u32>;          // a row of each query
@group(0) @binding(6) var<storage, read_write> places: array<u32>;      // of all rows; or lists: place bits, row number
@group(0) @binding(7) var<storage, read_write> lines: array<Line>;

// The largest place that may be wanted of a query of this dispatch.
fn limit(tile_query: u32) -> f32 {
    if (params.flags & LISTED) == 0u || tile_query >= params.queries {
        return LARGEST_PLACE;
    }
    let key = lines[params.first_query + tile_query].score_cut;
    return bitcast<f32>(select(~key, key & 0x7fffffffu, (key >> 31u) == 1u));
}

// Where the row of a sample belongs, of the dispatch's block `at`.
fn slot(at: u32, row: u32) -> u32 {
    return select(NO_SLOT, params.slot + at * 64u + row, at < params.blocks);
}

fn put(row: u32, slot: u32, tile_query: u32, place: f32) {
    if tile_query >= params.queries {
        return;
    }
    let query = params.first_query + tile_query;
    var key = LEFT_OUT;
    if row < params.rows {
        let word = query * params.mask_words + (row >> 5u);
        let allowed = (params.flags & MASKED) == 0u || ((mask[word] >> (row & 31u)) & 1u) != 0u;
        if allowed && left_out[query] != params.first_row + row {
            let bits = bitcast<u32>(place);
            key = select(bits | 0x80000000u, ~bits, (bits >> 31u) == 1u);
        }
    }
    if (params.flags & LISTED) != 0u {
        let cut = lines[query].score_cut;
        if key != LEFT_OUT && (key < cut || (key == cut && params.first_row + row <= lines[query].row_cut)) {
            let at = atomicAdd(&lines[query].count, 1u);
            if at < params.stride {
                places[2u * (query * params.stride + at)] = key;
                places[2u * (query * params.stride + at) + 1u] = params.first_row + row;
            }
        }
    } else if (params.flags & SAMPLED) != 0u {
        if slot != NO_SLOT {
            places[2u * (query * params.stride + slot)] = key;
            places[2u * (query * params.stride + slot) + 1u] = params.first_row + row;
        }
    } else if row < params.rows {
        places[query * params.stride + row] = key;
    }
}

//! How long does a search among vectors take? For `benches/search.py`, which times peers on the same numbers between our rounds.
//!
//! `dense_timing --vectors FILE --queries FILE --dims D [--k K] [--threads T] [--repeats R] [--metric l2|l1|cosine|ip]
//! [--device NAME] [--ids] [--serve]`
//!
//! Files are raw little-endian f32, vector after vector. Prints medians in ms for 1, 16 and 256 queries, without a mask and with
//! one that allows every second row (by a hash). With `--serve` it reads `COUNT MASKED` from stdin, line by line, and prints
//! the ms of one search and, with `--ids`, the rows.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

use std::io::{BufRead, Write};
use std::sync::Arc;
use std::time::Instant;

use matgenome_gpu::{Choice, Device, Mask, Masks, Metric, NearestAnswer, NearestQuery, Vectors};

struct Options {
    vectors: Vec<f32>,
    queries: Vec<f32>,
    dims: usize,
    k: usize,
    repeats: usize,
    metric: Metric,
    device: Choice,
    ids: bool,
    serve: bool,
}

fn main() {
    let options = options();
    let device = Device::open(&options.device).expect("the device opens");
    let vectors = Vectors::new(options.vectors.clone(), options.dims).expect("vectors");
    device.load_vectors(&vectors, options.metric).expect("the vectors are loaded");
    let half = Mask::from_fn(vectors.len(), |row| half(row as u32));
    if options.serve {
        return serve(&options, &device, &vectors, &half);
    }
    println!(
        "{} × {} vectors, {:?}, k = {}, {}",
        vectors.len(),
        vectors.dims(),
        options.metric,
        options.k,
        device.name()
    );
    println!("{:>8} {:>12} {:>12}   medians of {}, ms", "queries", "all rows", "50 % mask", options.repeats);
    for count in [1, 16, 256] {
        let mut times = [Vec::new(), Vec::new()];
        for _ in 0..options.repeats {
            for (times, masks) in times.iter_mut().zip([Masks::All, Masks::Shared(&half)]) {
                times.push(search(&options, &device, &vectors, masks, count).0);
            }
        }
        let [all, masked] = times.map(median);
        println!("{count:>8} {all:>12.2} {masked:>12.2}");
    }
}

/// Whether the mask allows a row; `benches/search.py` has the same.
fn half(row: u32) -> bool {
    row.wrapping_mul(2_654_435_769) >> 31 == 1
}

fn serve(options: &Options, device: &Device, vectors: &Arc<Vectors>, half: &Mask) {
    println!("ready {}", device.name());
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        let mut words = line.split_whitespace();
        let count = words.next().and_then(|word| word.parse().ok()).expect("a number of queries");
        let masks = if words.next() == Some("1") { Masks::Shared(half) } else { Masks::All };
        let (ms, answer) = search(options, device, vectors, masks, count);
        print!("{ms}");
        if options.ids {
            answer.neighbours.iter().flatten().for_each(|neighbour| print!(" {}", neighbour.row));
        }
        println!();
        std::io::stdout().flush().expect("stdout");
    }
}

fn search(
    options: &Options,
    device: &Device,
    vectors: &Arc<Vectors>,
    masks: Masks,
    count: usize,
) -> (f64, NearestAnswer) {
    let queries = &options.queries[..count * options.dims];
    let query = NearestQuery { vectors, queries, metric: options.metric, masks, leave_out: None, k: options.k };
    let start = Instant::now();
    let answer = device.nearest(&query).expect("an answer");
    (start.elapsed().as_secs_f64() * 1e3, answer)
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn options() -> Options {
    let mut options = Options {
        vectors: Vec::new(),
        queries: Vec::new(),
        dims: 128,
        k: 10,
        repeats: 21,
        metric: Metric::L2,
        device: Choice::Cpu,
        ids: false,
        serve: false,
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let mut value = || arguments.next().unwrap_or_else(|| panic!("{name} wants a value"));
        match name.as_str() {
            "--vectors" => options.vectors = floats(&value()),
            "--queries" => options.queries = floats(&value()),
            "--dims" => options.dims = value().parse().expect("a number"),
            "--k" => options.k = value().parse().expect("a number"),
            "--repeats" => options.repeats = value().parse().expect("a number"),
            "--threads" => {
                let threads = value().parse().expect("a number");
                rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().expect("threads");
            }
            "--metric" => {
                options.metric = match value().as_str() {
                    "l2" => Metric::L2,
                    "l1" => Metric::L1,
                    "cosine" => Metric::Cosine,
                    "ip" => Metric::InnerProduct,
                    other => panic!("no metric {other}: l2, l1, cosine or ip"),
                }
            }
            "--device" => options.device = value().parse().expect("a device"),
            "--ids" => options.ids = true,
            "--serve" => options.serve = true,
            other => panic!("no option {other}"),
        }
    }
    options
}

fn floats(path: &str) -> Vec<f32> {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{path}: {error}"));
    bytes.chunks_exact(4).map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]])).collect()
}

//! How long does a target spec take on a device alone? For `benches/search.py`, which times peers on the same rows between our
//! rounds.
//!
//! `spec_timing --columns FILE --rows N --targets LO,HI,TOLERANCE,WEIGHT[;...] [--device NAME] [--threads T] [--no-deviations]`
//!
//! The file is raw little-endian f32: of each target's column the means of all rows, then their standard deviations (negative:
//! no value). An end of a window may be `-inf` or `inf`; rows without a value are left out by a mask, as `unknown: require` does.
//! Reads `K MASKED` from stdin, line by line, and prints the ms of one search and its rows; MASKED is 1 for a mask that
//! allows every second row (by a hash).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

use std::io::{BufRead, Write};
use std::sync::Arc;
use std::time::Instant;

use matgenome_gpu::{Choice, Column, Device, Mask, Missing, SpecQuery, Target};

fn main() {
    let (mut columns, mut rows, mut targets) = (Vec::new(), 0usize, String::new());
    let (mut device, mut deviations) = (Choice::Cpu, true);
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let mut value = || arguments.next().unwrap_or_else(|| panic!("{name} wants a value"));
        match name.as_str() {
            "--columns" => columns = floats(&value()),
            "--rows" => rows = value().parse().expect("a number"),
            "--targets" => targets = value(),
            "--device" => device = value().parse().expect("a device"),
            "--threads" => {
                let threads = value().parse().expect("a number");
                rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().expect("threads");
            }
            "--no-deviations" => deviations = false,
            other => panic!("no option {other}"),
        }
    }
    let targets: Vec<Target> = targets
        .split(';')
        .zip(columns.chunks_exact(2 * rows))
        .map(|(words, column)| {
            let numbers: Vec<f32> = words.split(',').map(|word| word.parse().expect("a number")).collect();
            let (mean, sd) = column.split_at(rows);
            let sd = sd.iter().map(|&sd| if deviations { sd } else { sd.min(0.0) }).collect();
            let column = Column::new(mean.to_vec(), sd).expect("a column");
            let [lo, hi, tolerance, weight] = numbers[..] else { panic!("{words}: four numbers") };
            Target { column, lo, hi, inv_tolerance: 1.0 / tolerance, weight, missing: Missing::Ignore }
        })
        .collect();
    let known = |row: usize| targets.iter().all(|target| target.column.sd()[row] >= 0.0);
    let all = Mask::from_fn(rows, known);
    let half = Mask::from_fn(rows, |row| (row as u32).wrapping_mul(2_654_435_769) >> 31 == 1 && known(row));
    let device = Device::open(&device).expect("the device opens");
    let held: Vec<Arc<Column>> = targets.iter().map(|target| Arc::clone(&target.column)).collect();
    device.warm_up(&held).expect("the columns are loaded");
    println!("ready {}", device.name());
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        let mut words = line.split_whitespace();
        let k = words.next().and_then(|word| word.parse().ok()).expect("a number");
        let mask = if words.next() == Some("1") { &half } else { &all };
        let query = SpecQuery { targets: &targets, mask: Some(mask), k };
        let start = Instant::now();
        let answer = device.exact(&query).expect("an answer");
        print!("{}", start.elapsed().as_secs_f64() * 1e3);
        answer.hits.iter().for_each(|(_, row)| print!(" {row}"));
        println!();
        std::io::stdout().flush().expect("stdout");
    }
}

fn floats(path: &str) -> Vec<f32> {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{path}: {error}"));
    bytes.chunks_exact(4).map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]])).collect()
}

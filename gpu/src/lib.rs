//! Numbers in, ranked row numbers out: WGSL kernels and their CPU twin.
//!
//! A [`Column`] holds what is believed of one property of every row, a [`Target`] is a window on a column, and
//! [`Device::spec`] finds the `k` rows nearest to all windows of a [`SpecQuery`] among those that a [`Mask`] allows. The score
//! is defined in [`mod@reference`]; GPU and CPU compute it in f32 and order rows by (score bits, row number), and
//! [`Device::exact`] has the last word in f64, the same on every device.
//!
//! [`Vectors`] are embeddings; [`Device::nearest`] finds the `k` nearest to each of a batch of queries by a [`Metric`],
//! [`Device::within`] all within a distance, and [`Device::all_nearest`] the neighbours of a whole set. Kernels find candidates
//! in f32 with a proven margin, and f64 decides.
//!
//! [`Device::histogram`] counts how the means of a column are distributed.
//!
//! This crate never sees a file, a record, a property's name or Arrow: it sees columns of f32, bit masks and row numbers.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod adapter;
mod cards;
mod codes;
mod column;
mod cpu;
mod dense_cpu;
mod dense_simd;
mod device;
mod error;
mod exact;
mod half;
mod histogram;
mod kernel;
mod margin;
mod mask;
mod moves;
mod nearest;
pub mod normal;
mod places;
mod probe;
mod processor;
mod query;
pub mod reference;
mod segment;
mod selftest;
mod shader;
mod simd;
mod sketch;
mod topk;
mod vectors;
mod wgpu_device;

pub use adapter::{AdapterReport, Choice, adapters};
pub use column::{Column, MAX_ROWS};
pub use device::{Device, DeviceReport, ExactAnswer, OpenOptions};
pub use error::GpuError;
pub use histogram::{Histogram, HistogramQuery, MAX_EDGES};
pub use kernel::FLOOR_F32;
pub use mask::Mask;
pub use moves::{Moves, Run};
pub use nearest::{AllNearest, MAX_QUERIES, Masks, NearestAnswer, NearestQuery, Neighbour, WithinQuery};
pub use probe::Probe;
pub use query::{Answer, Hit, MAX_TARGETS, Missing, SpecQuery, Target};
pub use sketch::{Sketch, Sketched};
pub use vectors::{Metric, Vectors};

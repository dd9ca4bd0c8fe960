//! Columns in device memory: cut into segments that fit one binding, kept for as long as the column lives.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use crate::Column;

/// No segment is larger, whatever the device allows.
const LARGEST_SEGMENT_BYTES: u64 = 1 << 30;
/// Bytes of one row of a column: mean and sd.
pub(crate) const ROW_BYTES: u64 = 8;
/// Rows of one piece of an upload.
const UPLOAD_ROWS: usize = 1 << 20;
/// Segments start at whole words of a mask.
const ROWS_PER_WORD: u32 = 64;

/// How rows are cut into segments. Every buffer with an entry per row is cut the same way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cut {
    rows_per_segment: u32,
}

impl Cut {
    /// What a device of these limits can bind, or `wanted` rows where that is less (at least one word of a mask).
    pub(crate) fn new(limits: &wgpu::Limits, wanted: Option<u32>) -> Cut {
        let bytes = limits.max_storage_buffer_binding_size.min(limits.max_buffer_size).min(LARGEST_SEGMENT_BYTES);
        let most = (bytes / ROW_BYTES) as u32;
        let rows = wanted.unwrap_or(most).min(most);
        Cut { rows_per_segment: (rows / ROWS_PER_WORD).max(1) * ROWS_PER_WORD }
    }

    pub(crate) fn rows_per_segment(&self) -> u32 {
        self.rows_per_segment
    }

    /// The first row and the number of rows of each segment of `rows` rows.
    pub(crate) fn segments(&self, rows: usize) -> impl Iterator<Item = (usize, usize)> + use<> {
        let step = self.rows_per_segment as usize;
        (0..rows).step_by(step).map(move |first| (first, step.min(rows - first)))
    }
}

/// The columns that a device holds.
#[derive(Debug, Default)]
pub(crate) struct Columns {
    held: HashMap<u64, Held>,
}

#[derive(Debug)]
struct Held {
    column: Weak<Column>,
    segments: Vec<wgpu::Buffer>,
}

impl Columns {
    /// The segments of a column, uploaded where they are not yet there.
    pub(crate) fn get(
        &mut self,
        device: &wgpu::Device,
        queue: &wgpu::Queue,
        cut: Cut,
        column: &Arc<Column>,
    ) -> &[wgpu::Buffer] {
        let held = self.held.entry(column.id()).or_insert_with(|| Held {
            column: Arc::downgrade(column),
            segments: cut
                .segments(column.len())
                .map(|(first, rows)| upload(device, queue, column, first, rows))
                .collect(),
        });
        &held.segments
    }

    /// Frees the columns that nobody else holds any more.
    pub(crate) fn forget_dropped(&mut self) {
        self.held.retain(|_, held| held.column.strong_count() > 0);
    }

    /// Frees all columns.
    pub(crate) fn clear(&mut self) {
        self.held.clear();
    }

    /// How many columns are held.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.held.len()
    }
}

fn upload(device: &wgpu::Device, queue: &wgpu::Queue, column: &Column, first: usize, rows: usize) -> wgpu::Buffer {
    let buffer = device.create_buffer(&wgpu::BufferDescriptor {
        label: Some("column"),
        size: rows as u64 * ROW_BYTES,
        usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    });
    let mut piece: Vec<[f32; 2]> = Vec::with_capacity(rows.min(UPLOAD_ROWS));
    for start in (0..rows).step_by(UPLOAD_ROWS) {
        let span = first + start..first + rows.min(start + UPLOAD_ROWS);
        piece.clear();
        piece.extend(column.mean()[span.clone()].iter().zip(&column.sd()[span]).map(|(&mean, &sd)| [mean, sd]));
        queue.write_buffer(&buffer, start as u64 * ROW_BYTES, bytemuck::cast_slice(&piece));
        // an empty submission hands the piece over, so that staging memory does not pile up
        queue.submit([]);
    }
    buffer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_cover_every_row_once_and_start_at_whole_words() {
        let limits = wgpu::Limits::defaults();
        for (wanted, rows) in [(None, 5), (Some(1), 200), (Some(64), 128), (Some(1000), 5000), (Some(u32::MAX), 7)] {
            let cut = Cut::new(&limits, wanted);
            let mut next = 0;
            for (first, count) in cut.segments(rows) {
                assert_eq!((first, first % 64), (next, 0));
                assert!(count >= 1 && count <= cut.rows_per_segment() as usize);
                next += count;
            }
            assert_eq!(next, rows);
        }
        assert_eq!(Cut::new(&limits, None).rows_per_segment(), (128 << 20) / 8);
    }
}

//! Kernels and copies on their way to the device, and their parameters.

use std::collections::VecDeque;

use super::{Failure, WgpuDevice};

/// Multiplications, or what takes as long, of one submission: about a second of a software driver, a tenth of that of a small GPU,
/// and so below what drivers end.
pub(super) const SUBMISSION_WORK: u64 = 1 << 32;
/// Submissions that the device has not ended yet.
const IN_FLIGHT: usize = 4;

/// Commands on their way to the device. Each submission is a bounded piece of work, since drivers end what takes too long, and
/// few are in flight; each has a price of its own (some 20 µs), so that small pieces go together.
pub(super) struct Commands<'a> {
    device: &'a WgpuDevice,
    /// The pass that the last kernels were put in, ended before anything else is encoded.
    pass: Option<wgpu::ComputePass<'static>>,
    encoder: Option<wgpu::CommandEncoder>,
    /// Of what is encoded and not submitted.
    work: u64,
    flying: VecDeque<wgpu::SubmissionIndex>,
}

impl<'a> Commands<'a> {
    pub(super) fn new(device: &'a WgpuDevice) -> Commands<'a> {
        Commands { device, pass: None, encoder: None, work: 0, flying: VecDeque::new() }
    }

    pub(super) fn encoder(&mut self) -> &mut wgpu::CommandEncoder {
        self.pass = None;
        let device = &self.device.device;
        self.encoder.get_or_insert_with(|| device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default()))
    }

    /// Runs a kernel with the parameters that lie at these offsets of its uniform buffers; `work` as for [`SUBMISSION_WORK`].
    pub(super) fn run(
        &mut self,
        pipeline: &wgpu::ComputePipeline,
        group: &wgpu::BindGroup,
        offsets: &[u32],
        groups: [u32; 2],
        work: u64,
    ) -> Result<(), Failure> {
        if self.work + work > SUBMISSION_WORK {
            self.submit()?;
        }
        let mut pass = match self.pass.take() {
            Some(pass) => pass,
            None => self.encoder().begin_compute_pass(&wgpu::ComputePassDescriptor::default()).forget_lifetime(),
        };
        pass.set_pipeline(pipeline);
        pass.set_bind_group(0, group, offsets);
        pass.dispatch_workgroups(groups[0], groups[1], 1);
        self.pass = Some(pass);
        self.work += work;
        Ok(())
    }

    pub(super) fn submit(&mut self) -> Result<(), Failure> {
        self.pass = None;
        self.work = 0;
        let Some(encoder) = self.encoder.take() else { return Ok(()) };
        self.flying.push_back(self.device.queue.submit([encoder.finish()]));
        match self.flying.len() > IN_FLIGHT {
            true => self.device.wait(self.flying.pop_front()),
            false => Ok(()),
        }
    }
}

/// Parameters of many dispatches.
pub(super) struct Uniforms {
    pub(super) bytes: Vec<u8>,
    align: usize,
}

impl Uniforms {
    pub(super) fn new(limits: &wgpu::Limits) -> Uniforms {
        Uniforms { bytes: Vec::new(), align: limits.min_uniform_buffer_offset_alignment.max(16) as usize }
    }

    /// Where these lie.
    pub(super) fn push<T: bytemuck::Pod>(&mut self, params: &T) -> u32 {
        let at = self.bytes.len();
        self.bytes.extend_from_slice(bytemuck::bytes_of(params));
        self.bytes.resize(self.bytes.len().next_multiple_of(self.align), 0);
        at as u32
    }
}

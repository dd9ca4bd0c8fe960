//! Encoders that are honest about what they have seen.
//!
//! Compositions fall into folds by what they are made of, and for each fold one encoder learns without the labels of its
//! compositions. So of every material, known or not, one encoder has never seen a value: what it says of known materials is as
//! wrong as what it says of others, and whatever is fitted on top of it is not deceived. One more encoder learns from all.

use half::f16;
use ndarray::{Array2, Axis};
use serde::{Deserialize, Serialize};

use crate::composition::Composition;
use crate::encoder::{Encoder, Learned, Scale, Task, Training, VECTOR};

/// Trained encoders.
#[derive(Debug, Clone)]
pub struct Ensemble {
    /// Encoder `k` has not seen fold `k`.
    folds: Vec<Encoder>,
    /// Has seen all.
    whole: Encoder,
}

/// What the encoders say of some compositions, on the axes of the tasks: one row a composition, one column a task.
#[derive(Debug, Clone)]
pub struct Said {
    /// By the encoder that has never seen the composition.
    pub unseen: Array2<f32>,
    /// By all of them, in the mean.
    pub mean: Array2<f32>,
}

/// These bytes are no trained encoders.
#[derive(Debug, thiserror::Error)]
#[error("these are no trained encoders of this version of the program: {0}")]
pub struct NoEnsemble(String);

/// Compositions that are read in one go.
const PART: usize = 1 << 15;

/// Counts up with every change of the network or of the file.
const FORMAT: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Head {
    format: u32,
    /// One list of tasks an encoder; the last one is of the encoder that has seen all.
    encoders: Vec<Vec<HeadTask>>,
}

#[derive(Serialize, Deserialize)]
struct HeadTask {
    name: String,
    middle: f32,
    spread: f32,
    labels: u32,
}

impl Ensemble {
    /// Trains one encoder for each of the folds, and one for all. `watch` is told how much of the work is done, 0 to 1, and the
    /// loss of late; it ends the training by `false`, and then there is no ensemble.
    pub fn train(
        compositions: &[Composition],
        tasks: &[Task],
        folds: usize,
        training: &Training,
        watch: &mut dyn FnMut(f64, f32) -> bool,
    ) -> Option<Ensemble> {
        let fold: Vec<usize> = compositions.iter().map(|c| fold_of(c, folds)).collect();
        let mut trained = Vec::with_capacity(folds + 1);
        for left_out in 0..=folds {
            let training = Training { seed: training.seed.wrapping_add(left_out as u64), ..training.clone() };
            let (mut goes_on, all) = (true, ((folds + 1) * training.steps) as f64);
            let mut watch = |step: usize, loss: f32| {
                goes_on = watch((left_out * training.steps + step) as f64 / all, loss);
                goes_on
            };
            let held_out = |at: u32| fold[at as usize] == left_out;
            trained.push(Encoder::train(compositions, tasks, &held_out, &training, &mut watch));
            if !goes_on {
                return None;
            }
        }
        let whole = trained.pop()?;
        Some(Ensemble { folds: trained, whole })
    }

    /// The tasks.
    pub fn tasks(&self) -> &[Learned] {
        &self.whole.tasks
    }

    /// What the encoders say of compositions.
    pub fn say(&self, compositions: &[&Composition]) -> Said {
        let none = || Array2::zeros((compositions.len(), self.tasks().len()));
        let (mut unseen, mut mean) = (none(), none());
        // the vectors of all at once would be large
        for (part, from) in compositions.chunks(PART).zip((0..).step_by(PART)) {
            let rows = ndarray::s![from..from + part.len(), ..];
            let (mut mean, mut unseen) = (mean.slice_mut(rows), unseen.slice_mut(rows));
            mean.assign(&self.whole.encode(part).1);
            unseen.assign(&mean);
            for (k, encoder) in self.folds.iter().enumerate() {
                let (_, said) = encoder.encode(part);
                mean += &said;
                for (at, composition) in part.iter().enumerate() {
                    if fold_of(composition, self.folds.len()) == k {
                        unseen.index_axis_mut(Axis(0), at).assign(&said.index_axis(Axis(0), at));
                    }
                }
            }
            mean /= (self.folds.len() + 1) as f32;
        }
        Said { unseen, mean }
    }

    /// The vectors of compositions in the space of the encoder that has seen all: one row each, [`VECTOR`] components.
    pub fn vectors(&self, compositions: &[&Composition]) -> Array2<f32> {
        let mut vectors = Array2::zeros((compositions.len(), VECTOR));
        for (part, from) in compositions.chunks(PART).zip((0..).step_by(PART)) {
            let (encoded, _) = self.whole.encode(part);
            vectors.slice_mut(ndarray::s![from..from + part.len(), ..]).assign(&encoded);
        }
        vectors
    }

    /// As bytes: a line of JSON, then the parameters as 16-bit floats, then the CRC-32 of all before it.
    pub fn to_bytes(&self) -> Vec<u8> {
        let encoders = || self.folds.iter().chain([&self.whole]);
        let head_task = |task: &Learned| HeadTask {
            name: task.name.clone(),
            middle: task.scale.middle,
            spread: task.scale.spread,
            labels: task.labels,
        };
        let head = Head {
            format: FORMAT,
            encoders: encoders().map(|encoder| encoder.tasks.iter().map(head_task).collect()).collect(),
        };
        // numbers and texts: there is nothing in it that JSON could not hold
        let mut bytes = serde_json::to_vec(&head).unwrap_or_default();
        bytes.push(b'\n');
        encoders().for_each(|e| e.parameters().for_each(|x| bytes.extend(f16::from_f32(x).to_le_bytes())));
        let sum = crc32fast::hash(&bytes);
        bytes.extend(sum.to_le_bytes());
        bytes
    }

    /// From [`Ensemble::to_bytes`].
    ///
    /// # Errors
    /// The bytes are damaged, or of another version of the program.
    pub fn from_bytes(bytes: &[u8]) -> Result<Ensemble, NoEnsemble> {
        let damaged = |what: &str| NoEnsemble(what.to_owned());
        let (bytes, sum) = bytes.split_last_chunk::<4>().ok_or_else(|| damaged("there are too few bytes"))?;
        if crc32fast::hash(bytes) != u32::from_le_bytes(*sum) {
            return Err(damaged("the checksum is another"));
        }
        let end = bytes.iter().position(|byte| *byte == b'\n').ok_or_else(|| damaged("there is no first line"))?;
        let head: Head = serde_json::from_slice(&bytes[..end]).map_err(|e| NoEnsemble(e.to_string()))?;
        if head.format != FORMAT {
            return Err(NoEnsemble(format!("they are of format {}, and this is {FORMAT}", head.format)));
        }
        let numbers = bytes[end + 1..].chunks_exact(2);
        let mut numbers = numbers.map(|two| f16::from_le_bytes([two[0], two[1]]).to_f32());
        let mut encoders = Vec::with_capacity(head.encoders.len());
        for tasks in head.encoders {
            let learned = |task: HeadTask| Learned {
                name: task.name,
                scale: Scale { middle: task.middle, spread: task.spread },
                labels: task.labels,
            };
            let encoder = Encoder::with_parameters(tasks.into_iter().map(learned).collect(), &mut numbers);
            encoders.push(encoder.ok_or_else(|| damaged("there are too few numbers"))?);
        }
        if numbers.next().is_some() {
            return Err(damaged("there are too many numbers"));
        }
        let whole = encoders.pop().ok_or_else(|| damaged("there is no encoder"))?;
        if encoders.iter().any(|encoder| encoder.tasks.len() != whole.tasks.len()) {
            return Err(damaged("they have learned different tasks"));
        }
        Ok(Ensemble { folds: encoders, whole })
    }
}

fn fold_of(composition: &Composition, folds: usize) -> usize {
    // the high bits: what is in one fold must not be in step with other uses of the key
    if folds == 0 { usize::MAX } else { ((composition.key() >> 33) % folds as u64) as usize }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn compositions() -> Vec<Composition> {
        (1..90u8).flat_map(|z| [1.0, 2.0].map(|n| Composition::new([(z, n), (z % 7 + 93, 1.0)]).unwrap())).collect()
    }

    fn trained(lie: f32) -> Ensemble {
        let all = compositions();
        let number = |c: &Composition| c.parts().iter().map(|(z, f)| f32::from(*z) * f).sum::<f32>();
        let of = |(at, c): (usize, &Composition)| (at as u32, number(c) + if fold_of(c, 3) == 1 { lie } else { 0.0 });
        let task = Task { name: "number".to_owned(), labels: all.iter().enumerate().map(of).collect() };
        let training = Training { steps: 100, batch: 64, ..Training::default() };
        Ensemble::train(&all, &[task], 3, &training, &mut |_, _| true).unwrap()
    }

    #[test]
    fn of_every_composition_one_encoder_has_seen_nothing() {
        let all = compositions();
        let of: Vec<&Composition> = all.iter().collect();
        let (truth, lie) = (trained(0.0).say(&of), trained(1000.0).say(&of));
        let own: Vec<usize> = (0..all.len()).filter(|at| fold_of(of[*at], 3) == 1).collect();
        assert!(own.len() > 20 && own.len() < all.len() - 20);
        for at in own {
            assert_eq!(truth.unseen.row(at), lie.unseen.row(at), "its own fold does not know of the lie");
            assert_ne!(truth.mean.row(at), lie.mean.row(at), "the others do");
        }
    }

    #[test]
    fn bytes_bring_back_what_was_trained() {
        let (ensemble, all) = (trained(0.0), compositions());
        let of: Vec<&Composition> = all.iter().collect();
        let bytes = ensemble.to_bytes();
        let again = Ensemble::from_bytes(&bytes).unwrap();
        assert_eq!(again.tasks(), ensemble.tasks());
        assert_eq!(again.to_bytes(), bytes);
        let (a, b) = (ensemble.say(&of), again.say(&of));
        let off = a.mean.iter().zip(&b.mean).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max);
        assert!(off < 0.5, "16 bits change a mean atomic number by {off}");
        for at in [0, 10, bytes.len() / 2, bytes.len() - 1] {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert!(Ensemble::from_bytes(&damaged).is_err(), "byte {at}");
        }
        assert!(Ensemble::from_bytes(&bytes[..bytes.len() - 10]).is_err());
        assert!(Ensemble::from_bytes(&[]).is_err());
    }
}

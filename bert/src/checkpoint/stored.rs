//! A tensor where it stands in a file, whatever the format: where its numbers begin, of which type
//! they are, and how far apart.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use candle_core::{DType, Device, Tensor};

/// Where a tensor stands in a file.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    /// `None`: not floating point, or nothing that a model is saved in.
    pub dtype: Option<DType>,
    /// The type as the file calls it.
    pub type_name: String,
    pub shape: Vec<usize>,
    /// How many numbers lie between neighbours in each dimension.
    pub strides: Vec<usize>,
    /// The byte of the first number.
    pub start: u64,
    /// The first byte that belongs to something else.
    pub end: u64,
}

impl Stored {
    /// The numbers as f32, in the order of the shape.
    ///
    /// Allocates what the file has, never what it only says; the caller has compared the shape with
    /// what it expects.
    pub fn read(&self, mut file: &File) -> Result<Tensor, String> {
        let Some(dtype) = self.dtype else {
            return Err(format!("has type {}, not one of f16, bf16, f32 and f64", self.type_name));
        };
        let beyond = || "reaches beyond the end of what is stored".to_owned();
        let count = self.span().ok_or_else(beyond)?;
        let wanted = self.shape.iter().try_fold(1_usize, |all, size| all.checked_mul(*size));
        if wanted.is_none_or(|wanted| wanted > count) {
            return Err("repeats its numbers (an expanded tensor): save a contiguous copy of it".to_owned());
        }
        let bytes = count.checked_mul(dtype.size_in_bytes()).ok_or_else(beyond)?;
        if self.end.saturating_sub(self.start) < bytes as u64 {
            return Err(beyond());
        }
        let mut buffer = vec![0; bytes];
        let read = file.seek(SeekFrom::Start(self.start)).and_then(|_| file.read_exact(&mut buffer));
        read.map_err(|error| error.to_string())?;
        let made = Tensor::from_raw_buffer(&buffer, dtype, &[count], &Device::Cpu)
            .and_then(|numbers| numbers.to_dtype(DType::F32))
            .and_then(|numbers| match self.strides == contiguous(&self.shape) {
                true => numbers.reshape(self.shape.as_slice()),
                false => Tensor::from_vec(self.gather(&numbers.to_vec1()?), self.shape.as_slice(), &Device::Cpu),
            });
        made.map_err(|error| error.to_string())
    }

    /// How many numbers there are from the first to the last one.
    fn span(&self) -> Option<usize> {
        let mut last = 0_usize;
        for (size, stride) in self.shape.iter().zip(&self.strides) {
            last = last.checked_add(size.checked_sub(1)?.checked_mul(*stride)?)?;
        }
        last.checked_add(1)
    }

    fn gather(&self, numbers: &[f32]) -> Vec<f32> {
        let mut places = vec![0];
        for (size, stride) in self.shape.iter().zip(&self.strides) {
            places = places.iter().flat_map(|place| (0..*size).map(move |index| place + index * stride)).collect();
        }
        places.into_iter().map(|place: usize| numbers[place]).collect()
    }
}

/// The strides of a tensor without gaps, row by row; 0 where they would be too large to count.
pub(super) fn contiguous(shape: &[usize]) -> Vec<usize> {
    let after = |dimension: usize| shape[dimension + 1..].iter().try_fold(1_usize, |all, size| all.checked_mul(*size));
    (0..shape.len()).map(|dimension| after(dimension).unwrap_or(0)).collect()
}

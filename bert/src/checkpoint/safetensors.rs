//! Where the tensors of a safetensors file stand: its header, without the numbers.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;

use ::safetensors::Dtype;
use ::safetensors::tensor::Metadata;
use candle_core::DType;

use super::stored::{Stored, contiguous};

/// The format's own limit for a header, in bytes.
const LARGEST_HEADER: u64 = 100_000_000;

/// Bytes of the header's length.
const LENGTH: u64 = 8;

pub(super) fn tensors(mut file: &File, size: u64) -> Result<HashMap<String, Stored>, String> {
    let mut length = [0; LENGTH as usize];
    file.read_exact(&mut length).map_err(|_| "is too short for a safetensors file".to_owned())?;
    let length = u64::from_le_bytes(length);
    if length > LARGEST_HEADER || length > size.saturating_sub(LENGTH) {
        return Err(format!("is no safetensors file, or was cut: its header would have {length} bytes"));
    }
    let mut header = vec![0; length as usize];
    file.read_exact(&mut header).map_err(|error| error.to_string())?;
    let header: Metadata = serde_json::from_slice(&header).map_err(|error| format!("its header: {error}"))?;
    let framework = header.metadata().as_ref().and_then(|metadata| metadata.get("format"));
    if let Some(framework) = framework.filter(|framework| *framework != "pt") {
        return Err(format!("its tensors are as {framework:?} has them: only those of PyTorch (\"pt\") are read"));
    }
    let start = LENGTH + length;
    let numbers = size - start;
    if header.data_len() as u64 != numbers {
        return Err(format!("has {numbers} bytes of numbers, its header says {}", header.data_len()));
    }
    let tensors = header.tensors().into_iter().map(|(name, info)| {
        let (first, last) = info.data_offsets;
        let stored = Stored {
            dtype: dtype(info.dtype),
            type_name: format!("{:?}", info.dtype),
            shape: info.shape.clone(),
            strides: contiguous(&info.shape),
            start: start.saturating_add(first as u64),
            end: start.saturating_add(last as u64),
        };
        (name, stored)
    });
    Ok(tensors.collect())
}

fn dtype(stored: Dtype) -> Option<DType> {
    match stored {
        Dtype::F16 => Some(DType::F16),
        Dtype::BF16 => Some(DType::BF16),
        Dtype::F32 => Some(DType::F32),
        Dtype::F64 => Some(DType::F64),
        _ => None,
    }
}

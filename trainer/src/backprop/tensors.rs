//! The values of candle's tensors on the CPU, without copying them.

use std::ops::{Deref, Range};

use candle_core::{CpuStorage, Layout, Result, Storage, Tensor, bail};

/// The values of a contiguous f32 tensor.
pub(crate) fn read(tensor: &Tensor) -> Result<impl Deref<Target = [f32]>> {
    let (storage, layout) = tensor.storage_and_layout();
    let range = contiguous(layout)?;
    match &*storage {
        Storage::Cpu(CpuStorage::F32(_)) => Ok(Values { storage, range }),
        _ => bail!("a tensor that is not f32 on the CPU: a bug"),
    }
}

/// The values of an operand, inside an operation of candle's.
pub(crate) fn slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let range = contiguous(layout)?;
    Ok(&storage.as_slice::<f32>()?[range])
}

/// The same, to be changed in place.
pub(crate) fn slice_mut<'a>(storage: &'a mut CpuStorage, layout: &Layout) -> Result<&'a mut [f32]> {
    let range = contiguous(layout)?;
    match storage {
        CpuStorage::F32(values) => Ok(&mut values[range]),
        _ => bail!("a tensor that is not f32: a bug"),
    }
}

/// A storage under its read lock, as the part of it that belongs to a tensor.
struct Values<Guard> {
    storage: Guard,
    range: Range<usize>,
}

impl<Guard: Deref<Target = Storage>> Deref for Values<Guard> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match &*self.storage {
            Storage::Cpu(CpuStorage::F32(values)) => &values[self.range.clone()],
            _ => unreachable!("checked when it was made"),
        }
    }
}

fn contiguous(layout: &Layout) -> Result<Range<usize>> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(start..end),
        None => bail!("a tensor that is not contiguous: a bug"),
    }
}

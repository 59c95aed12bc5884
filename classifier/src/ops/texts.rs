use std::sync::Arc;

use candle_core::{DType, Device, Result, Tensor};

/// Where the texts of a packed batch lie, prepared once a forward pass for the device it runs on.
pub(crate) struct Texts {
    /// Cumulative lengths.
    pub starts: Arc<[usize]>,
    /// What composed attention needs to go from packed rows to padded ones and back; nothing where it is fused.
    pub padded: Option<Padded>,
}

/// The padded form of a packed batch: (texts, longest).
pub(crate) struct Padded {
    pub texts: usize,
    pub longest: usize,
    /// For each padded place the packed row that stands there; row 0 where there is none. (texts · longest)
    pub from_packed: Tensor,
    /// For each packed row its padded place. (tokens)
    pub to_packed: Tensor,
    /// 0 where there is a token and -10,000 where there is none: finite also in half precision. (texts, 1, 1, longest)
    pub penalty: Tensor,
}

impl Texts {
    /// For fused operations.
    pub fn new(starts: &Arc<[usize]>) -> Self {
        Self { starts: starts.clone(), padded: None }
    }

    /// For composed ones, on their device.
    pub fn padded(starts: &Arc<[usize]>, device: &Device) -> Result<Self> {
        Ok(Self { starts: starts.clone(), padded: Some(Padded::new(starts, device)?) })
    }

    /// The position of each token in its text.
    pub fn positions(&self) -> Arc<[u32]> {
        self.starts.windows(2).flat_map(|pair| 0..(pair[1] - pair[0]) as u32).collect()
    }
}

impl Padded {
    fn new(starts: &[usize], device: &Device) -> Result<Self> {
        let lengths = || starts.windows(2).map(|pair| pair[1] - pair[0]);
        let texts = starts.len() - 1;
        let longest = lengths().max().unwrap_or(0);
        let mut from_packed = vec![0_u32; texts * longest];
        let mut to_packed = Vec::new();
        let mut penalty = vec![-1e4_f32; texts * longest];
        for (text, length) in lengths().enumerate() {
            for position in 0..length {
                let place = text * longest + position;
                from_packed[place] = (starts[text] + position) as u32;
                to_packed.push(place as u32);
                penalty[place] = 0.0;
            }
        }
        let tokens = to_packed.len();
        Ok(Self {
            texts,
            longest,
            from_packed: Tensor::from_vec(from_packed, texts * longest, device)?,
            to_packed: Tensor::from_vec(to_packed, tokens, device)?,
            penalty: Tensor::from_vec(penalty, (texts, 1, 1, longest), device)?.to_dtype(DType::F32)?,
        })
    }
}

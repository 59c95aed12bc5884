//! A [`Chip`] that runs the kernels on the CPU, through a C++ compiler: one process a launch.

use std::cell::RefCell;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::rc::Rc;

use bert::ModelConfig;
use candle_core::{Result, bail};
use half::bf16;

use super::chip::{Argument, Chip, Epilogue, Grid, Linear, Numbers};

/// The kernels for one pair of sizes.
#[derive(Clone, Debug)]
pub(super) struct Emulator {
    program: PathBuf,
    /// The order in which the threads of a block take turns: both must give the same.
    pub is_reversed: bool,
    _directory: Rc<tempfile::TempDir>,
}

impl Emulator {
    /// Compiles the kernels for a model; nothing where there is no C++ compiler.
    pub fn new(config: &ModelConfig) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("emulator");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cuda/emulator.cpp");
        let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".to_owned());
        let mut command = Command::new(&compiler);
        command.args(["-std=c++17", "-O1", "-Wall", "-Wno-unknown-pragmas"]);
        // What C++ leaves undefined, an index beyond an array among it, ends the program.
        command.args(["-fsanitize=undefined", "-fsanitize-undefined-trap-on-error"]);
        command.args([format!("-DWIDTH={}", config.hidden_size), format!("-DHEAD_SIZE={}", config.head_size())]);
        let Ok(output) = command.arg(source).arg("-o").arg(&program).output() else {
            println!("there is no {compiler} to compile the kernels for the CPU with: they are not tested");
            return None;
        };
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Some(Self { program, is_reversed: false, _directory: Rc::new(directory) })
    }

    /// Runs a kernel over memories, which the argument `m0` is the first of.
    fn run(&self, kernel: &str, grid: Grid, arguments: &[String], memories: &[&RefCell<Numbers>]) -> Result<()> {
        let mut command = Command::new(&self.program);
        command.arg(kernel).args([grid.blocks.0, grid.blocks.1, grid.threads].map(|number| number.to_string()));
        command.arg(if self.is_reversed { "-" } else { "+" }).args(arguments);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let mut input = Vec::new();
        for memory in memories {
            let bytes = memory.borrow().to_bytes();
            input.push(memory.borrow().kind());
            input.extend((bytes.len() as u64).to_ne_bytes());
            input.extend(bytes);
        }
        // It reads everything before it writes. One that ends early says why.
        let sent = child.stdin.take().unwrap().write_all(&input);
        let output = child.wait_with_output()?;
        if !output.status.success() {
            bail!("{kernel} {arguments:?}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr));
        }
        sent?;
        let mut rest = output.stdout.as_slice();
        for memory in memories {
            rest = memory.borrow_mut().take_bytes(rest);
        }
        Ok(())
    }
}

impl Chip for Emulator {
    type Memory = RefCell<Numbers>;

    fn upload(&self, numbers: Numbers) -> Result<Self::Memory> {
        Ok(RefCell::new(numbers))
    }

    fn send(&mut self, words: &[u32], to: &mut Self::Memory) -> Result<()> {
        match to.get_mut() {
            Numbers::Words(memory) => memory[..words.len()].copy_from_slice(words),
            other => bail!("words to {other:?}"),
        }
        Ok(())
    }

    fn launch(&self, kernel: &'static str, grid: Grid, arguments: &[Argument<'_, Self::Memory>]) -> Result<()> {
        let mut memories: Vec<&RefCell<Numbers>> = Vec::new();
        let mut texts = Vec::new();
        for argument in arguments {
            texts.push(match argument {
                Argument::Memory(memory) => {
                    let known = memories.iter().position(|known| std::ptr::eq(*known, *memory));
                    let number = known.unwrap_or_else(|| {
                        memories.push(memory);
                        memories.len() - 1
                    });
                    format!("m{number}")
                }
                Argument::Count(count) => format!("i{count}"),
                Argument::Number(number) => format!("f{number:e}"),
            });
        }
        self.run(kernel, grid, &texts, &memories)
    }

    fn multiply(
        &self,
        x: &Self::Memory,
        rows: usize,
        linear: &Linear<Self::Memory>,
        epilogue: Epilogue,
        out: &mut Self::Memory,
    ) -> Result<()> {
        let (x, weight, bias) = (x.borrow().halves(), linear.weight.borrow().halves(), linear.bias.borrow().halves());
        let Numbers::Halves(out) = out.get_mut() else { bail!("a product is bf16") };
        assert!(x.len() >= rows * linear.inputs && out.len() >= rows * linear.outputs, "rows beyond the memory");
        let pairs = x.chunks_exact(linear.inputs).take(rows).zip(out.chunks_exact_mut(linear.outputs));
        for (x, out) in pairs {
            for ((out, weight), bias) in out.iter_mut().zip(weight.chunks_exact(linear.inputs)).zip(&bias) {
                let product: f32 = x.iter().zip(weight).map(|(x, weight)| x * weight).sum();
                let sum = product + bias;
                *out = bf16::from_f32(match epilogue {
                    Epilogue::Nothing => sum,
                    Epilogue::Relu => sum.max(0.0),
                    Epilogue::TanhGelu => {
                        let bent = (0.797_884_6 * (sum + 0.044_715 * sum.powi(3))).tanh();
                        0.5 * sum * (1.0 + bent)
                    }
                });
            }
        }
        Ok(())
    }

    fn fetch(&self, memory: &Self::Memory, count: usize) -> Result<Vec<f32>> {
        match &*memory.borrow() {
            Numbers::Floats(numbers) => Ok(numbers[..count].to_vec()),
            other => bail!("no f32: {other:?}"),
        }
    }

    fn settle(&self) -> Result<()> {
        Ok(())
    }
}

impl Numbers {
    /// As the emulator names it.
    fn kind(&self) -> u8 {
        match self {
            Self::Halves(_) => b'h',
            Self::Floats(_) => b'f',
            Self::Words(_) => b'w',
        }
    }

    fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Halves(numbers) => numbers.iter().flat_map(|number| number.to_ne_bytes()).collect(),
            Self::Floats(numbers) => numbers.iter().flat_map(|number| number.to_ne_bytes()).collect(),
            Self::Words(numbers) => numbers.iter().flat_map(|number| number.to_ne_bytes()).collect(),
        }
    }

    /// Sets all numbers from the start of `bytes`; what is left of it.
    fn take_bytes<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        match self {
            Self::Halves(numbers) => take(numbers, bytes, bf16::from_ne_bytes),
            Self::Floats(numbers) => take(numbers, bytes, f32::from_ne_bytes),
            Self::Words(numbers) => take(numbers, bytes, u32::from_ne_bytes),
        }
    }

    /// Numbers of bf16 as f32.
    pub fn halves(&self) -> Vec<f32> {
        match self {
            Self::Halves(numbers) => numbers.iter().map(|number| number.to_f32()).collect(),
            other => panic!("no bf16: {other:?}"),
        }
    }
}

fn take<'a, T, const SIZE: usize>(numbers: &mut [T], bytes: &'a [u8], number: fn([u8; SIZE]) -> T) -> &'a [u8] {
    let (own, rest) = bytes.split_at(SIZE * numbers.len());
    for (to, bytes) in numbers.iter_mut().zip(own.as_chunks::<SIZE>().0) {
        *to = number(*bytes);
    }
    rest
}

//! A [`Chip`] that runs the kernels on the CPU, through a C++ compiler: one process a launch.

use std::cell::RefCell;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::rc::Rc;

use candle_core::{Result, Tensor, bail};
use half::bf16;

use crate::{Argument, Chip, Epilogue, Grid, Kernels, Kind, Linear, Matrix, Numbers};

/// Kernels on the CPU.
#[derive(Clone, Debug)]
pub struct Emulator {
    program: PathBuf,
    /// The order in which the threads of a block take turns: both must give the same.
    pub is_reversed: bool,
    _directory: Rc<tempfile::TempDir>,
}

impl Emulator {
    /// Compiles the kernels; nothing where there is no C++ compiler.
    ///
    /// # Panics
    /// The compiler refuses them.
    pub fn new(kernels: &Kernels) -> Option<Self> {
        let directory = tempfile::tempdir().expect("there is room for a directory");
        let path = |name: &str| directory.path().join(name);
        std::fs::write(path("emulator.h"), include_str!("emulator.h")).expect("there is room for a file");
        std::fs::write(path("emulator.cpp"), include_str!("emulator.cpp")).expect("there is room for a file");
        std::fs::write(path("kernels.cu"), kernels.source()).expect("there is room for a file");
        let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".to_owned());
        let mut command = Command::new(&compiler);
        command.args(["-std=c++17", "-O1", "-Wall", "-Wno-unknown-pragmas", "-Wno-unused-function"]);
        // What C++ leaves undefined, an index beyond an array among it, ends the program.
        command.args(["-fsanitize=undefined", "-fsanitize-undefined-trap-on-error"]);
        command.args(kernels.macros.iter().map(|(name, value)| format!("-D{name}={value}")));
        let names: String = kernels.names.iter().map(|name| format!("KERNEL({name}) ")).collect();
        command.arg("-DKERNELS=\"kernels.cu\"").arg(format!("-DNAMES={names}"));
        let Ok(output) = command.arg(path("emulator.cpp")).arg("-o").arg(path("emulator")).output() else {
            let mut out = std::io::stderr();
            writeln!(
                out,
                "\nNOT RUN: the kernels of {}: there is no {compiler} to compile them for the CPU",
                kernels.name
            )
            .expect("stderr is open");
            return None;
        };
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Some(Self { program: path("emulator"), is_reversed: false, _directory: Rc::new(directory) })
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
        let sent = child.stdin.take().expect("it is piped").write_all(&input);
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

    fn zeros(&self, kind: Kind, count: usize) -> Result<Self::Memory> {
        Ok(RefCell::new(match kind {
            Kind::Halves => Numbers::Halves(vec![bf16::ZERO; count]),
            Kind::Floats => Numbers::Floats(vec![0.0; count]),
            Kind::Words => Numbers::Words(vec![0; count]),
        }))
    }

    fn share(&self, tensor: &Tensor) -> Result<Self::Memory> {
        Ok(RefCell::new(Numbers::Floats(tensor.flatten_all()?.to_vec1()?)))
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
                Argument::Bits(bits) => format!("u{bits}"),
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

    fn product(
        &self,
        left: Matrix<'_, Self::Memory>,
        right: Matrix<'_, Self::Memory>,
        out: &Self::Memory,
        add: bool,
    ) -> Result<()> {
        let ((rows, inner), (others, columns)) = (left.size(), right.size());
        let (one, other) = (left.memory.borrow().halves(), right.memory.borrow().halves());
        assert_eq!(inner, others, "a product of a row with a column of another length");
        assert!(left.end() <= one.len() && right.end() <= other.len(), "a matrix beyond its memory");
        let number = |numbers: &[f32], matrix: &Matrix<'_, Self::Memory>, row: usize, column: usize| {
            let (row, column) = if matrix.is_transposed { (column, row) } else { (row, column) };
            numbers[matrix.first + row * matrix.stride + column]
        };
        let sum = |row: usize, column: usize| -> f32 {
            (0..inner).map(|at| number(&one, &left, row, at) * number(&other, &right, at, column)).sum()
        };
        let places = (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column)));
        match &mut *out.borrow_mut() {
            Numbers::Floats(out) => out[..rows * columns].iter_mut().zip(places).for_each(|(out, (row, column))| {
                *out = sum(row, column) + if add { *out } else { 0.0 };
            }),
            Numbers::Halves(out) => out[..rows * columns].iter_mut().zip(places).for_each(|(out, (row, column))| {
                *out = bf16::from_f32(sum(row, column) + if add { out.to_f32() } else { 0.0 });
            }),
            Numbers::Words(_) => bail!("a product is no words"),
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
    ///
    /// # Panics
    /// They are others.
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

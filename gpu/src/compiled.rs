//! Whether kernels compile for GPUs, on a machine without one.

use std::ffi::OsStr;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::Kernels;

/// The GPUs that are tried: A100, L4 and the RTX of its time, H100 and H200, B200.
const ARCHITECTURES: &str = "sm_80,sm_89,sm_90,sm_100";

/// What a GPU has for a block: registers, and bytes of shared memory that a kernel need not ask for.
const REGISTERS: u64 = 65_536;
const SHARED: u64 = 48 * 1024;

/// Threads of the largest blocks.
const THREADS: u64 = 256;

/// Compiles kernels, of several sizes, as the driver of a GPU would, which needs a Python with the
/// packages `nvidia-cuda-nvrtc` and `nvidia-cuda-nvcc`, named by `LABELSTREAM_NVRTC`; without one it
/// says so.
///
/// # Panics
/// They do not compile, a kernel is missing, or one has more registers than there are and keeps some
/// in memory, or takes more shared memory than there is.
pub fn assert_compile(sizes: &[Kernels]) {
    let Some(python) = std::env::var_os("LABELSTREAM_NVRTC") else {
        assert!(std::env::var_os("LABELSTREAM_REQUIRE_NVRTC").is_none(), "LABELSTREAM_NVRTC is not set");
        let advice = "set LABELSTREAM_NVRTC to a Python with nvidia-cuda-nvrtc and nvidia-cuda-nvcc";
        let mut out = std::io::stderr();
        let name = sizes.first().map_or("no", |kernels| kernels.name);
        writeln!(out, "\nNOT RUN: the compiler of CUDA over the kernels of {name}: {advice}").expect("stderr is open");
        return;
    };
    sizes.iter().for_each(|kernels| assert_compiles(&python, kernels));
}

fn assert_compiles(python: &OsStr, kernels: &Kernels) {
    let directory = tempfile::tempdir().expect("there is room for a directory");
    let source = directory.path().join("kernels.cu");
    std::fs::write(&source, kernels.source()).expect("there is room for a file");
    let mut command = Command::new(python);
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/compile.py")).arg(source).arg(ARCHITECTURES);
    command.args(kernels.macros.iter().map(|(name, value)| format!("{name}={value}")));
    let output = command.output().expect("LABELSTREAM_NVRTC runs");
    assert!(output.status.success(), "{:?}: {}", kernels.macros, String::from_utf8_lossy(&output.stderr));
    let said: Value = serde_json::from_slice(&output.stdout).expect("it says JSON");
    for architecture in ARCHITECTURES.split(',') {
        for kernel in kernels.names {
            let found = &said[architecture][kernel];
            let number = |name: &str| found[name].as_u64().unwrap_or_else(|| panic!("{architecture} {kernel}: {said}"));
            let fits = number("stack") == 0 && number("spilled") == 0 && number("shared") <= SHARED;
            let what = format!("{kernel} for {architecture}, {:?}: {found}", kernels.macros);
            assert!(fits && number("registers") * THREADS <= REGISTERS, "{what}");
        }
    }
}

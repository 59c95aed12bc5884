"""Compiles a file of kernels as a GPU's driver would: by NVRTC to PTX, by ptxas to the code of a GPU.

usage: compile.py SOURCE ARCHITECTURE[,...] [NAME=VALUE ...]    architectures such as sm_90

Prints one JSON object: of each architecture each kernel's registers, shared memory, stack and spills in bytes.
Needs neither a GPU nor a driver: pip install nvidia-cuda-nvrtc nvidia-cuda-nvcc
"""
import ctypes
import glob
import json
import os
import re
import subprocess
import sys
import tempfile


def main():
    source, architectures, *macros = sys.argv[1:]
    ptx = compiled(source, [f"--define-macro={macro}" for macro in macros])
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "kernels.ptx")
        with open(path, "wb") as file:
            file.write(ptx)
        print(json.dumps({name: assembled(path, name) for name in architectures.split(",")}))


def find(pattern):
    """A file of the packages, wherever they lie on the search path."""
    found = [path for root in sys.path for path in glob.glob(f"{root}/nvidia/cu*/{pattern}")]
    return found[0] if found else sys.exit(f"no {pattern} of the packages nvidia-cuda-nvrtc and nvidia-cuda-nvcc")


def compiled(source, options):
    ctypes.CDLL(find("lib/libnvrtc-builtins.so.*"), mode=ctypes.RTLD_GLOBAL)
    nvrtc = ctypes.CDLL(find("lib/libnvrtc.so.*"))
    program, size = ctypes.c_void_p(), ctypes.c_size_t()

    def check(status):
        if status:
            nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
            log = ctypes.create_string_buffer(size.value)
            nvrtc.nvrtcGetProgramLog(program, log)
            sys.exit(f"NVRTC: {status}: {log.value.decode()}")

    with open(source, "rb") as file:
        check(nvrtc.nvrtcCreateProgram(ctypes.byref(program), file.read(), b"kernels.cu", 0, None, None))
    # As `device.rs` asks for it.
    options = ["--gpu-architecture=compute_80", *options]
    check(nvrtc.nvrtcCompileProgram(program, len(options), (ctypes.c_char_p * len(options))(*map(str.encode, options))))
    check(nvrtc.nvrtcGetPTXSize(program, ctypes.byref(size)))
    ptx = ctypes.create_string_buffer(size.value)
    check(nvrtc.nvrtcGetPTX(program, ptx))
    return ptx.value


def assembled(path, architecture):
    command = [find("bin/ptxas"), f"-arch={architecture}", "-v", path, "-o", os.devnull]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"ptxas for {architecture}: {done.stderr}")
    kernels = {}
    for line in done.stderr.splitlines():
        if name := re.search(r"Compiling entry function '(\w+)'", line):
            kernel = kernels.setdefault(name[1], {"shared": 0})
        if stack := re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores", line):
            kernel["stack"], kernel["spilled"] = map(int, stack.groups())
        if registers := re.search(r"Used (\d+) registers", line):
            kernel["registers"] = int(registers[1])
        if shared := re.search(r"(\d+) bytes smem", line):
            kernel["shared"] = int(shared[1])
    return kernels


main()

"""What a knowing user puts in front of PyTorch on a processor that is not Intel's: MKL told to take its AVX-512 kernels, and tcmalloc."""

import glob
import shutil
import subprocess

# MKL asks these functions, which libtorch_cpu exports, whether the processor is Intel's, and takes slow kernels where it is not.
OVERRIDE = """
int mkl_serv_intel_cpu(void) { return 1; }
int mkl_serv_intel_cpu_true(void) { return 1; }
"""


class TunedLibraries:
    """The libraries to preload, none where one of them is missing; `notes` says which."""

    def __init__(self, folder):
        self.libraries, self.notes = [], []
        compiler = shutil.which("cc") or shutil.which("gcc")
        allocators = sorted(glob.glob("/usr/lib/*/libtcmalloc_minimal.so.4") + glob.glob("/usr/lib64/libtcmalloc_minimal.so.4"))
        if not compiler:
            self.notes.append("no tuned PyTorch: a C compiler is missing")
        if not allocators:
            self.notes.append("no tuned PyTorch: tcmalloc is missing (apt install libtcmalloc-minimal4)")
        if self.notes:
            return
        source, library = folder / "override.c", folder / "override.so"
        source.write_text(OVERRIDE)
        subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-o", library, source], check=True)
        self.libraries = [allocators[0], library]

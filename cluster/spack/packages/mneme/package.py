# Mneme for Spack. Swift is no Spack package: have the toolchain (https://www.swift.org/install/linux, 6.1 or later) on the PATH. From a checkout:
#     spack repo add cluster/spack
#     MNEME_SOURCE=$PWD spack install mneme ^openmpi
import os

from spack.package import *


class Mneme(Package):
    """Distributed training of language models that remember, over MPI, on CPU clusters."""

    license("Apache-2.0")

    # The sources are the checkout that MNEME_SOURCE names.
    has_code = False
    version("0.1.0")

    variant("onednn", default=True, description="Let oneDNN multiply matrices too; it is loaded when the program starts")

    depends_on("mpi")
    depends_on("openblas")
    depends_on("hdf5@1.10: ~mpi")
    depends_on("sentencepiece@0.1.97:")
    depends_on("zlib-api")
    depends_on("bzip2")
    depends_on("xz")
    depends_on("onednn@2.6:2", when="+onednn")
    depends_on("pkgconfig", type="build")

    def install(self, spec, prefix):
        source = os.environ.get("MNEME_SOURCE")
        if not source:
            raise InstallError("MNEME_SOURCE must name a checkout of Mneme")
        install_tree(source, "mneme")
        with working_dir("mneme"):
            Executable("launch/install")(prefix, "--static")

    def setup_run_environment(self, env):
        # Loaded by name when the program starts, so no run path leads there.
        env.prepend_path("LD_LIBRARY_PATH", self.spec["mpi"].prefix.lib)
        if self.spec.satisfies("+onednn"):
            env.prepend_path("LD_LIBRARY_PATH", self.spec["onednn"].prefix.lib)

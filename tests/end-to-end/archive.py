"""`make archive`: `kms-compliance` for other machines, into dist/: the program, its manual, completions, licence.

It is built by zig against glibc 2.17, so that it runs on any Linux of the last ten years; where Rust has the musl
target, there is a static one too.
"""

import hashlib
import pathlib
import shutil
import subprocess
import sys
import tarfile
import tempfile

import tomlkit

from local_aws import ROOT

NAME = "kms-compliance"
GLIBC, MUSL = "x86_64-unknown-linux-gnu", "x86_64-unknown-linux-musl"
LARGEST = 15_000_000  # bytes
SHELLS = {"bash": f"{NAME}.bash", "zsh": f"_{NAME}", "fish": f"{NAME}.fish"}


def main():
    directory = ROOT / "dist"
    directory.mkdir(exist_ok=True)
    version = tomlkit.parse((ROOT / "Cargo.toml").read_text(encoding="utf-8"))["workspace"]["package"]["version"]
    archives = [archive(directory, version, GLIBC, f"{GLIBC}.2.17")]
    if (sysroot() / "lib/rustlib" / MUSL).is_dir():
        archives.append(archive(directory, version, MUSL, MUSL))
    else:
        print(f"no static program: Rust's target {MUSL} is not installed")
    for path in archives:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        path.with_name(f"{path.name}.sha256").write_text(f"{digest}  {path.name}\n", encoding="utf-8")
        print(path.relative_to(ROOT))


def sysroot():
    output = subprocess.run(["rustc", "--print", "sysroot"], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    return pathlib.Path(output.stdout.strip())


def archive(directory, version, target, zig_target):
    # From its own folder: what is built together shares its features.
    command = ["cargo", "lambda", "build", "--release", "--bin", NAME, "--target", zig_target]
    subprocess.run(command, cwd=ROOT / "cli", check=True)
    program = ROOT / "target/lambda" / NAME / "bootstrap"
    if (size := program.stat().st_size) > LARGEST:
        sys.exit(f"{NAME} has {size / 1e6:.1f} MB, more than {LARGEST / 1e6:.0f}")
    print(f"{size / 1e6:6.1f} MB  {NAME} for {target}")
    name = f"{NAME}-{version}-{target}"
    with tempfile.TemporaryDirectory(prefix="kms-compliance-") as scratch:
        root = pathlib.Path(scratch) / name
        root.mkdir()
        shutil.copy(program, root / NAME)
        for each in ("LICENSE", "docs/scan.md"):
            shutil.copy(ROOT / each, root)
        subprocess.run([root / NAME, "man", root / "man"], check=True)
        (root / "completions").mkdir()
        for shell, file in SHELLS.items():
            text = subprocess.run([root / NAME, "completions", shell], check=True, stdout=subprocess.PIPE).stdout
            (root / "completions" / file).write_bytes(text)
        path = directory / f"{name}.tar.gz"
        with tarfile.open(path, "w:gz") as tar:
            tar.add(root, arcname=name, filter=without_owner)
    return path


def without_owner(entry):
    entry.uid = entry.gid = entry.mtime = 0
    entry.uname = entry.gname = "root"
    return entry


main()

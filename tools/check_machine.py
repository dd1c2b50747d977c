"""Names the system package for each piece the machine lacks, before anything is downloaded.

Run by the Makefile with the interpreter that will make the .venv. It keeps to Python 3.6's syntax and the
standard library, so that an old interpreter says so instead of failing on a word it does not know.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile

OLDEST = (3, 11)
NEWEST = (3, 14)

PROGRAM = """
#include <atomic>
#include <concepts>
#include <span>
#include <thread>
template <std::integral T> T sum(std::span<const T> values) {
  std::atomic<T> total{0};
  std::thread([&] { for (T value : values) total += value; }).join();
  return total;
}
int main() { const int values[] = {1, 2, 3}; return sum<int>(values) - 6; }
"""


def version():
    return tuple(sys.version_info[:2])


def dotted(number):
    return "{}.{}".format(*number)


def runs(command):
    """Whether it exits with 0: a shim on PATH may name a program that is not there."""
    quiet = subprocess.DEVNULL
    try:
        return subprocess.call(command, stdin=quiet, stdout=quiet, stderr=quiet) == 0
    except OSError:
        return False


def newer_python():
    """The newest suitable interpreter on PATH, or None."""
    for minor in range(NEWEST[1], OLDEST[1] - 1, -1):
        name = "python3.{}".format(minor)
        if shutil.which(name) and runs([name, "-c", ""]):
            return name
    return None


def has_headers():
    return os.path.exists(os.path.join(sysconfig.get_paths()["include"], "Python.h"))


def has_venv():
    """Whether both have their files: the empty folder of a removed package is found, too, with no origin."""
    specs = [importlib.util.find_spec(name) for name in ("venv", "ensurepip")]
    return all(spec and spec.origin for spec in specs)


def compiler():
    """$CXX if set, else the first C++ compiler on PATH, or None."""
    names = [os.environ["CXX"]] if os.environ.get("CXX") else ["c++", "g++", "clang++"]
    return next((name for name in names if shutil.which(name.split()[0])), None)


def compiles(command):
    """Whether this compiler makes a program of C++20 with threads."""
    with tempfile.TemporaryDirectory() as folder:
        source, program = os.path.join(folder, "check.cc"), os.path.join(folder, "check")
        with open(source, "w") as file:
            file.write(PROGRAM)
        return runs([*command.split(), "-std=c++20", "-pthread", source, "-o", program])


def piece(name, debian, fedora, macos):
    return "\n".join(
        [
            "Missing: " + name,
            "  Debian, Ubuntu  sudo apt-get install " + debian,
            "  Fedora          sudo dnf install " + fedora,
            "  macOS           " + macos,
        ]
    )


def missing_python():
    """What this interpreter lacks. One that is too old is not asked for its headers: it will not be used."""
    this = dotted(version())
    if version() < OLDEST:
        problem = "Python {} or newer ({} is {})".format(dotted(OLDEST), sys.executable, this)
        found = newer_python()
        if found:
            yield "Missing: {}\n  {} is here: make PYTHON={} ...".format(problem, found, found)
        else:
            name = "python" + dotted(OLDEST)
            packages = "{0} {0}-venv {0}-dev".format(name)
            yield piece(problem, packages, name + "-devel", "brew install python@" + dotted(OLDEST))
            yield "  Then: make PYTHON={} ...".format(name)
        return
    reinstall = "brew install python@" + this
    if not has_venv():
        packages = "python{}-venv".format(this)
        yield piece("venv and ensurepip of Python " + this, packages, "python{}-libs".format(this), reinstall)
    if not has_headers():
        debian, fedora = "python{}-dev".format(this), "python{}-devel".format(this)
        yield piece("headers of Python {} (Python.h)".format(this), debian, fedora, reinstall)


def missing_compiler():
    found = compiler()
    if not found:
        named = os.environ.get("CXX")
        problem = "C++ compiler" + (" (CXX={} is not there)".format(named) if named else "")
    elif not compiles(found):
        problem = "C++20 ({} cannot make such a program; g++ 11, clang++ 14 or newer can)".format(found)
    else:
        return
    yield piece(problem, "g++", "gcc-c++", "xcode-select --install")


def main():
    missing = list(missing_python()) + list(missing_compiler())
    for lines in missing:
        print(lines)
    if not shutil.which("make"):
        print("Handy, not needed: make (the package has the same name; macOS: xcode-select --install)")
    if missing:
        print("Nothing has been downloaded yet. Install the above, then try again.")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())

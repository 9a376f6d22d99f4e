#!/bin/sh
# make test-pythons: for each Python that nmtprune is for and this machine has (on the PATH, or of pyenv), an environment of its own under
# .venvs, installed as envs/install.sh installs, and the unit tests and the shorter runs in it. PYTHONS="3.12" tries one. TESTS=...: others.
set -eu
cd "$(dirname "$0")/.."
tests=${TESTS:-tests/unit tests/contract tests/golden tests/dag tests/smoke/test_end_to_end.py tests/smoke/test_import.py}
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" PYTHONPATH="$PWD/workflow"
tried=
for version in ${PYTHONS:-3.11 3.12 3.13}; do
    python=
    for each in "${PYENV_ROOT:-$HOME/.pyenv}/versions/$version".*/bin/python "$(command -v "python$version" || true)"; do
        # a shim of pyenv is there for versions that it does not run
        if [ -x "$each" ] && "$each" -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] != '$version')" 2> /dev/null; then python=$each; break; fi
    done
    if [ -z "$python" ]; then echo "== Python $version is not here: not tried"; continue; fi
    echo "== Python $version: $python"
    venv=.venvs/$version
    if [ ! -e "$venv/installed" ]; then
        "$python" -m venv --clear "$venv"
        PYTHON="$venv/bin/python" sh envs/install.sh
        "$venv/bin/python" -m pip install --quiet -c envs/requirements.txt -r envs/requirements-dev.txt
        touch "$venv/installed"
    fi
    # shellcheck disable=SC2086 # a list of files
    "$venv/bin/python" -m pytest -rs $tests
    tried="$tried $version"
done
[ -n "$tried" ] || { echo "None of the Pythons is here"; exit 1; }
echo "== All is well under Python$tried"

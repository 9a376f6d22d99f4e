#!/bin/sh
# Installs nmtprune into the environment of $PYTHON (default: the python on the PATH). Run it at the top of the repository.
set -eu
python=${PYTHON:-python}
"$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || {
    echo "$python is $("$python" --version); nmtprune needs 3.11, 3.12 or 3.13 (fairseq cannot be imported by later ones)" >&2
    exit 1
}
"$python" -m pip install --disable-pip-version-check --quiet -r envs/requirements.txt

# fairseq's metadata asks for versions that no longer install, so its requirements are in ours. It is built apart from the
# environment (with PyTorch in sight it would also build extensions that nothing here uses), by the compiler versions of our lock.
PIP_CONSTRAINT=envs/requirements.txt PIP_BUILD_CONSTRAINT=envs/requirements.txt \
    "$python" -m pip install --disable-pip-version-check --quiet --no-deps fairseq==0.12.2

"$python" -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation --editable .

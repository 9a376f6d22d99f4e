#!/bin/sh
# What conda.yaml cannot say: fairseq without its requirements, which no longer resolve and stand in conda.yaml. Run by Snakemake in the
# environment that it has made of it, in whatever directory. fairseq is built apart, by the compiler versions of the environment.
set -eu
pins=$(mktemp)
trap 'rm -f "$pins"' EXIT
python -m pip freeze --all --exclude pip > "$pins"
PIP_CONSTRAINT=$pins PIP_BUILD_CONSTRAINT=$pins python -m pip install --disable-pip-version-check --quiet --no-deps fairseq==0.12.2

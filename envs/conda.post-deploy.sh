#!/bin/sh
# Snakemake runs this once it has made the environment of conda.yaml.
sh envs/install.sh

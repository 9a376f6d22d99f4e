#!/bin/sh
# A whole run as one job on a node of its own, for models so small that a job for each step would cost more than the work:
#   sbatch profiles/slurm/node.sh --config preset=toy
#SBATCH --exclusive
#SBATCH --mem=0
#SBATCH --time=1-00:00:00
exec .venv/bin/snakemake --cores "$SLURM_CPUS_ON_NODE" "$@"

#!/bin/sh
# A real Slurm on this one machine, for tests: slurm.sh install | start [--accounting] | stop
#
# As root, on Debian or Ubuntu. It has a node of CPUs and one of GPUs, which are plain files. Jobs of Snakemake's plug-in look for the
# configuration in its usual place, so it is written there; a machine that has a Slurm of its own is left alone.
# Exit status 3, with a sentence: there can be no such Slurm here.
set -eu

ETC=/etc/slurm
STATE=/var/lib/nmtprune-slurm
MARK="# Written by nmtprune's tests/cluster/slurm.sh"

impossible() {
    echo "$1" >&2
    exit 3
}

ours() {
    [ "$(head -n 1 "$1")" = "$MARK" ]
}

check() {
    [ "$(id -u)" = 0 ] || impossible "a Slurm for tests needs root"
    for file in slurm.conf slurmdbd.conf gres.conf; do
        if [ -e "$ETC/$file" ] && ! ours "$ETC/$file"; then
            impossible "this machine has a Slurm of its own"
        fi
    done
}

install() {
    command -v apt-get > /dev/null || impossible "a Slurm for tests is installed by apt-get, and there is none"
    export DEBIAN_FRONTEND=noninteractive
    { apt-get update -q && apt-get install -q -y --no-install-recommends slurm-wlm slurmdbd munge mariadb-server; } > /dev/null 2>&1 ||
        impossible "apt-get cannot install Slurm here"
}

configure() {
    mkdir -p "$ETC" "$STATE/spool-cpu" "$STATE/spool-gpu" "$STATE/controller"
    touch "$STATE/gpu0" "$STATE/gpu1"
    cat > "$ETC/slurm.conf" << CONF
$MARK
ClusterName=test
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
ProctrackType=proctrack/pgid
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=batch_sched_delay=0,sched_interval=2
SlurmdParameters=config_overrides
GresTypes=gpu
MpiDefault=none
ReturnToService=2
KillWait=2
MinJobAge=${MIN_JOB_AGE:-86400}
StateSaveLocation=$STATE/controller
SlurmdSpoolDir=$STATE/spool-%n
SlurmctldPidFile=$STATE/slurmctld.pid
SlurmdPidFile=$STATE/slurmd-%n.pid
SlurmctldLogFile=$STATE/slurmctld.log
SlurmdLogFile=$STATE/slurmd-%n.log
$accounting
NodeName=cpu NodeHostname=$(hostname -s) NodeAddr=127.0.0.1 Port=6830 CPUs=3 RealMemory=200000
NodeName=gpu NodeHostname=$(hostname -s) NodeAddr=127.0.0.1 Port=6831 CPUs=2 RealMemory=100000 Gres=gpu:a100:2
PartitionName=cpu Nodes=cpu Default=YES
PartitionName=gpu Nodes=gpu
CONF
    printf '%s\nNodeName=gpu Name=gpu Type=a100 File=%s\n' "$MARK" "$STATE/gpu[0-1]" > "$ETC/gres.conf"
}

# Kept by a database of its own, which nobody else sees.
start_accounting() {
    database="$STATE/database"
    export MYSQL_UNIX_PORT="$database/socket"
    mariadb-install-db --no-defaults --user=mysql --datadir="$database" --skip-test-db > /dev/null 2>&1
    mariadbd --no-defaults --user=mysql --datadir="$database" --socket="$MYSQL_UNIX_PORT" --skip-networking --pid-file="$database/pid" \
        > /dev/null 2>&1 &
    wait_for mariadb-admin --no-defaults ping
    cat > "$ETC/slurmdbd.conf" << CONF
$MARK
AuthType=auth/munge
DbdHost=localhost
SlurmUser=root
StorageType=accounting_storage/mysql
StorageUser=root
StorageLoc=accounting
PidFile=$STATE/slurmdbd.pid
LogFile=$STATE/slurmdbd.log
CONF
    chmod 600 "$ETC/slurmdbd.conf"
    slurmdbd
    wait_for sacctmgr -n show cluster
    sacctmgr -i add cluster test > /dev/null 2>&1 || true
    sacctmgr -i add account science > /dev/null 2>&1 || true
    sacctmgr -i add user root account=science > /dev/null 2>&1 || true
}

wait_for() {
    for _ in $(seq 240); do
        ! "$@" > /dev/null 2>&1 || return 0
        sleep 0.5
    done
    cat "$STATE"/*.log >&2 || true
    stop
    echo "Slurm does not start: $* fails" >&2
    exit 1
}

start() {
    for program in munged slurmctld slurmd slurmdbd mariadbd; do
        command -v "$program" > /dev/null || impossible "no $program: tests/cluster/slurm.sh install installs a Slurm for tests"
    done
    stop
    configure
    mkdir -p /run/munge
    chown munge: /run/munge
    runuser -u munge -- munged
    [ -z "$accounting" ] || start_accounting
    slurmctld -c
    slurmd -N cpu
    slurmd -N gpu
    wait_for srun -p cpu true
    wait_for srun -p gpu --gpus=a100:1 true
}

stop() {
    for daemon in slurmd-cpu slurmd-gpu slurmctld slurmdbd; do
        end "$STATE/$daemon.pid"
    done
    end "$STATE/database/pid"
    end /run/munge/munged.pid
    rm -rf "$ETC/slurm.conf" "$ETC/slurmdbd.conf" "$ETC/gres.conf" "$STATE"
}

end() {
    [ -e "$1" ] || return 0
    pid=$(cat "$1")
    kill "$pid" 2> /dev/null || return 0
    for _ in $(seq 40); do
        kill -0 "$pid" 2> /dev/null || return 0
        sleep 0.25
    done
    kill -9 "$pid"
}

accounting=
[ $# -eq 0 ] || check
case "$*" in
    "install") install ;;
    "start") start ;;
    "start --accounting")
        accounting="AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=localhost
AccountingStorageTRES=gres/gpu,gres/gpu:a100
AccountingStoreFlags=job_comment"
        start
        ;;
    "stop") stop ;;
    *)
        echo "usage: $0 install | start [--accounting] | stop" >&2
        exit 2
        ;;
esac

# shellcheck shell=bash
# What the scripts of this folder share: where things live, which processes belong to a bed, how to wait.
#
# A bed is one cluster of one checkout. Everything of it is named after a hash of the checkout's path, so that
# beds of different checkouts never meet: a state folder, a control group, a loopback port. Its network and mount
# namespaces have no name at all; they end with their last process, and the control group says which those are.
set -euo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
CHECKOUT=$(cd "$HERE/../.." && pwd -P)
export HOME=${HOME:-/root} # Go and Cargo need one
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/kymaros-runner
BIN=$CACHE/bin
BED_ID=$(printf '%s\n' "$CHECKOUT" "$CACHE" | sha256sum | cut -c1-12)
BED=$CACHE/beds/$BED_ID
# Where a bed sees its own state folder, whatever the machine calls it: configuration needs no templates, and
# socket paths stay below the 108 bytes that Unix allows.
INSIDE=/run/bed
unset KUBECONFIG
export KUBERC=off LC_ALL=C.UTF-8
umask 022

say() { printf '%s\n' "$*" >&2; }
die() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

need_root() { [ "$(id -u)" = 0 ] || die "the test bed needs root (namespaces, mounts, control groups)"; }

seconds_since() { awk -v a="$1" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f", b - a }'; }

# lock FILE SECONDS WHAT: takes the lock on descriptor 9 for the rest of the script; daemons must be started with 9>&-.
lock() {
  mkdir -p "$(dirname "$1")"
  exec 9> "$1"
  flock -n 9 && return
  say "waiting for another $3 to end (at most $2 s)"
  flock -w "$2" 9 || die "another $3 still runs after $2 s: fuser -v $1"
}

# --- control groups ----------------------------------------------------------------------------------------------
# Version 1 has one tree per controller, version 2 a single one.

cgroup_version() { if [ "$(stat -fc %T /sys/fs/cgroup)" = cgroup2fs ]; then echo 2; else echo 1; fi; }

# One line per tree that a bed joins.
cgroup_trees() {
  if [ "$(cgroup_version)" = 2 ]; then echo /sys/fs/cgroup; else awk '$3 == "cgroup" { print $2 }' /proc/mounts | sort -u; fi
}

# cgroup_folders ID: the bed's group in every tree.
cgroup_folders() {
  local tree
  for tree in $(cgroup_trees); do [ ! -d "$tree/kymaros-$1" ] || echo "$tree/kymaros-$1"; done
}

cgroup_create() {
  local tree folder file
  for tree in $(cgroup_trees); do
    folder=$tree/kymaros-$BED_ID
    mkdir -p "$folder"
    if [ "$(cgroup_version)" = 2 ]; then
      cgroup_delegate "$tree" # node/init does the same for the bed's own group
    elif [ -e "$folder/cpuset.cpus" ]; then
      for file in cpuset.cpus cpuset.mems; do
        [ -n "$(cat "$folder/$file")" ] || cat "$tree/$file" > "$folder/$file"
      done
    fi
  done
}

cgroup_delegate() {
  local controller
  for controller in $(< "$1/cgroup.controllers"); do
    echo "+$controller" > "$1/cgroup.subtree_control" 2> /dev/null || true
  done
}

# Moves the calling shell (a subshell, before it becomes a daemon) into the bed's group; with version 2 into the leaf
# that node/init has made, because a group that hands controllers on to others may hold no processes itself.
cgroup_join() {
  local folder
  for folder in $(cgroup_folders "$BED_ID"); do
    [ ! -d "$folder/node" ] || folder=$folder/node
    echo "$BASHPID" > "$folder/cgroup.procs"
  done
}

# bed_pids ID: every process of a bed, containers included.
bed_pids() {
  local folder
  for folder in $(cgroup_folders "$1"); do find "$folder" -name cgroup.procs -exec cat {} + 2> /dev/null || true; done | sort -un
}

# --- daemons -----------------------------------------------------------------------------------------------------
# A process is known by pid and start time: a pid alone may have been given to somebody else since.

# Empty for a zombie too: not every first process of a container collects them.
start_time() { sed 's/.*) //' "/proc/$1/stat" 2> /dev/null | awk '$1 != "Z" && $1 != "X" { print $20 }'; }

# pid_of NAME [STATE]: the pid of a daemon that still runs.
pid_of() {
  local pid started
  read -r pid started 2> /dev/null < "${2:-$BED}/proc/$1" || return 1
  [ -n "$started" ] && [ "$(start_time "$pid")" = "$started" ] && echo "$pid"
}

# A proxy of the machine's network would be asked for the bed's own addresses.
without_proxy() { unset -v http_proxy https_proxy all_proxy no_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY NO_PROXY; }

# start NAME COMMAND...: runs a daemon in the bed's control group and in the calling namespaces.
start() {
  local name=$1
  shift
  mkdir -p "$BED/proc" "$BED/log"
  rm -f "$BED/proc/$name"
  (
    exec 9>&-
    without_proxy
    cgroup_join
    self=$BASHPID
    echo "$self $(start_time "$self")" > "$BED/proc/.$name"
    mv "$BED/proc/.$name" "$BED/proc/$name"
    exec setsid "$@"
  ) > "$BED/log/$name.log" 2>&1 < /dev/null &
  while [ ! -e "$BED/proc/$name" ]; do
    kill -0 $! 2> /dev/null || [ -e "$BED/proc/$name" ] || die "$name could not be started: see $BED/log/$name.log"
    sleep 0.01
  done
}

# start_inside NAME COMMAND...: the same in the bed's namespaces.
start_inside() {
  local name=$1
  shift
  start "$name" nsenter -t "$(pid_of node)" -m -n -C -- "$@"
}

# stop_daemon NAME [STATE]: asks it to end, insists after 3 s.
stop_daemon() {
  local pid
  pid=$(pid_of "$1" "${2:-$BED}") || return 0
  kill "$pid" 2> /dev/null || true
  for _ in $(seq 30); do
    pid_of "$1" "${2:-$BED}" > /dev/null || return 0
    sleep 0.1
  done
  kill -9 "$pid" 2> /dev/null || true
}

# wait_for WHAT SECONDS DAEMON COMMAND...: until the command succeeds; shows the daemon's log if it does not.
wait_for() {
  local what=$1 seconds=$2 daemon=$3 end=$((SECONDS + $2))
  shift 3
  until "$@" > /dev/null 2>&1; do
    if [ "$SECONDS" -ge "$end" ]; then
      show_log "$daemon"
      die "$what: not ready after $seconds s"
    fi
    if ! pid_of "$daemon" > /dev/null; then
      show_log "$daemon"
      die "$what: $daemon has ended"
    fi
    sleep 0.1
  done
}

show_log() {
  say "--- the end of $BED/log/$1.log"
  tail -n 25 "$BED/log/$1.log" >&2 || true
  say "---"
}

# --- inside the bed ----------------------------------------------------------------------------------------------

# inside COMMAND...: runs in the bed's namespaces, as a member of its control group (so that `down` ends it too).
inside() {
  local node
  node=$(pid_of node) || die "the bed of $CHECKOUT is not up: run $HERE/up"
  (
    without_proxy
    cgroup_join
    exec nsenter -t "$node" -m -n -C -- env PATH="$INSIDE/bin:$PATH" KUBECONFIG=$INSIDE/etc/admin.conf "$@"
  )
}

kubectl() { "$BED/bin/kubectl" --kubeconfig "$BED/kubeconfig" --cache-dir "$BED/kubectl-cache" "$@"; }

# --- ending ------------------------------------------------------------------------------------------------------

# end_bed ID: ends every process of a bed; namespaces and mounts go with them.
end_bed() {
  local state=$CACHE/beds/$1 pids folder
  # What it has not written yet would be lost; all others may be killed at any time.
  stop_daemon etcd "$state"
  for _ in $(seq 100); do
    pids=$(bed_pids "$1")
    [ -n "$pids" ] || break
    # shellcheck disable=SC2086 # one word per pid
    kill -9 $pids 2> /dev/null || true
    sleep 0.1
  done
  [ -z "$(bed_pids "$1")" ] || die "processes that do not end: $(bed_pids "$1" | tr '\n' ' ')"
  for _ in $(seq 50); do
    for folder in $(cgroup_folders "$1"); do find "$folder" -depth -type d -exec rmdir {} + 2> /dev/null || true; done
    [ -n "$(cgroup_folders "$1")" ] || break
    sleep 0.1
  done
  rm -rf "$state/proc" "$state/api.sock"
}

# wipe_bed ID: what says that the bed was complete goes first, lest an interrupt leave a bed that only looks so.
wipe_bed() {
  rm -f "${CACHE:?}/beds/$1/mode"
  rm -rf --one-file-system "${CACHE:?}/beds/$1"
}

# shellcheck shell=bash
# What the commands of a scenario may use. NS, NS2, VELERO, TEST and BACKUP are the scenario's names.
set -euo pipefail

k() { "$KUBECTL" --kubeconfig "$KUBECONFIG_OF_BED" "$@"; }

# until_ok SECONDS COMMAND...: tries the command until it succeeds.
until_ok() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@" > /dev/null 2>&1; do
    [ "$SECONDS" -lt "$deadline" ] || {
      echo "not within the time: $*" >&2
      return 1
    }
    sleep 0.7
  done
}

run_id() { k -n kymaros-system get lease "$TEST" -o 'jsonpath={.metadata.annotations.kymaros\.io/run}'; }

# restore: the name of the run's Restore, once it is there.
restore() {
  has_restore() { k -n "$VELERO" get restore "kymaros-$(run_id)"; }
  until_ok 90 has_restore
  echo "kymaros-$(run_id)"
}

# sandbox [SOURCE]: the name of the run's sandbox, once its Restore is there.
sandbox() {
  restore > /dev/null
  k get namespace -l "kymaros.io/run=$(run_id),kymaros.io/source-namespace=${1:-$NS}" -o 'jsonpath={.items[0].metadata.name}'
}

restore_phase() { k -n "$VELERO" get restore "$(restore)" -o 'jsonpath={.status.phase}'; }

# restored: returns once the Restore has ended.
restored() {
  over() { [[ "$(restore_phase)" =~ ^(Completed|PartiallyFailed|Failed)$ ]]; }
  until_ok 120 over
}

# runner: the name of the run's pod.
runner() { k -n kymaros-system get pod -l "job-name=$JOB" -o 'jsonpath={.items[0].metadata.name}'; }

# says SECONDS TEXT: returns once the run's log holds the text.
says() {
  log_says() { k -n kymaros-system logs "$(runner)" | grep -F "$2" > /dev/null; }
  until_ok "$1" log_says "$@"
}

# config_maps COUNT: so many ConfigMaps in the source namespace. Velero restores about 35 a second.
config_maps() {
  for i in $(seq "$1"); do
    printf -- '---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: many-%s, namespace: %s}\ndata: {n: "%s"}\n' "$i" "$NS" "$i"
  done | k create -f - > /dev/null
}

# another_backup NAME PHASE [SPEC as JSON]: one more backup of the same namespace, which must end in that phase.
another_backup() {
  k create -f - <<Y
{"apiVersion": "velero.io/v1", "kind": "Backup", "metadata": {"name": "$1", "namespace": "$VELERO"},
 "spec": $(jq -n --arg ns "$NS" --argjson spec "${3:-"{}"}" '{includedNamespaces: [$ns], ttl: "24h0m0s"} + $spec')}
Y
  ended() { [ "$(k -n "$VELERO" get backup.velero.io "$1" -o 'jsonpath={.status.phase}')" = "$2" ]; }
  until_ok 90 ended "$1" "$2"
}

# delete_backup NAME: with its data.
delete_backup() {
  k create -f - <<Y
{"apiVersion": "velero.io/v1", "kind": "DeleteBackupRequest", "metadata": {"generateName": "scenario-", "namespace": "$VELERO"},
 "spec": {"backupName": "$1"}}
Y
}

# same WHAT GOT EXPECTED: fails, and says so, unless the two are the same.
same() {
  [ "$2" = "$3" ] && return
  printf '%s: %s, expected %s\n' "$1" "${2:-nothing}" "${3:-nothing}" >&2
  return 1
}

# The application `inside` is a pod to look around from. A run whose checks begin with
#   {name: looked, type: exec, exec: {podSelector: {app: inside}, command: [sh, -c, "until [ -e /tmp/go ]; do sleep 0.2; done"], timeout: 100s}}
# keeps its sandbox until `go` is called beside it.

# looking [SOURCE]: the run's sandbox, once its Restore has ended and its pod `inside` runs.
looking() {
  local sandbox
  sandbox=$(sandbox "${1:-$NS}")
  restored
  runs() { k -n "$sandbox" exec deployment/inside -- true; }
  until_ok 90 runs
  echo "$sandbox"
}

# go SANDBOX: the run may go on.
go() { k -n "$1" exec deployment/inside -- touch /tmp/go; }

# dial NAMESPACE ADDRESS:PORT...: which of these can be connected to from the pod `inside` there, one a line. All are tried at once.
dial() {
  local from=$1
  shift
  # shellcheck disable=SC2016 # for the shell in the pod
  k -n "$from" exec deployment/inside -- bash -c 'for to; do
    (timeout 2 bash -c ": < /dev/tcp/${to%:*}/${to##*:}" && echo "$to") 2> /dev/null &
  done; wait' - "$@" | sort
}

# lines TEXT...: one a line, in order.
lines() { printf '%s\n' "$@" | sort; }

# finished: returns once the run's Job has ended.
finished() {
  over() { k -n kymaros-system get job "$JOB" -o 'jsonpath={.status.conditions[*].type}' | grep -qE 'Complete|Failed'; }
  until_ok 240 over
}

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
    sleep 0.2
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

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

# api_away SECONDS: for so long the run cannot reach the API server. Everybody else can, so scenarios still play side by side. The
# run must have a proxy: `faults: {rate: 0}`.
api_away() {
  touch "$AWAY"
  sleep "$1"
  rm -f "$AWAY"
}

# went_away: the API server was away from the run that has just ended. Otherwise nothing was tried.
went_away() {
  grep -q '"away":true' "build/test-logs/scenarios/$JOB.requests" || {
    echo "the API server was never away" >&2
    return 1
  }
}

# accounted NUMBER: that run of the scenario (from 0) has a report of its own; or it was never admitted, and said in its log what
# its report would have said.
accounted() {
  local log=build/test-logs/scenarios/$TEST-$1.log id
  id=$(jq -rR 'fromjson? | select(.message == "admitted") | .run' "$log")
  if [ -n "$id" ]; then
    k -n kymaros-system get rr -l "kymaros.io/test=$TEST" -o json | jq -e --arg id "$id" 'any(.items[]; .status.runId == $id and .status.completedAt)' > /dev/null ||
      { echo "run $id has no report" >&2; return 1; }
  else
    jq -eR 'fromjson? | select(.target == "kymaros_runner::report") | .report | fromjson | .message' "$log" > /dev/null ||
      { echo "a run that was not admitted does not say why: $log" >&2; return 1; }
  fi
}

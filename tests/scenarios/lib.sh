# shellcheck shell=bash
# What the commands of a scenario may use. NS, NS2, VELERO, TEST and BACKUP are the scenario's names.
set -euo pipefail

# Where commands leave what they saw, also before the first run has ended.
mkdir -p build/test-logs/scenarios

k() { "$KUBECTL" --kubeconfig "$KUBECONFIG_OF_BED" "$@"; }

# api PATH: what the API server answers to GET, one field a line. For what is asked again and again: a kubectl takes five times as
# much of the processor for it, and with several scenarios side by side that decides how fast they are.
api() {
  local bed=${KUBECONFIG_OF_BED%/*}
  curl --silent --fail --noproxy '*' --max-time 30 --cacert "$bed/pki/ca.crt" --cert "$bed/pki/admin.crt" --key "$bed/pki/admin.key" \
    "https://127.0.0.1:$(< "$bed/port")$1$([[ $1 = *\?* ]] && echo '&' || echo '?')pretty=true"
}

# api_create PATH: the object on standard input, as JSON; where a moment counts, which kubectl takes to start.
api_create() {
  local bed=${KUBECONFIG_OF_BED%/*}
  curl --silent --show-error --fail --noproxy '*' --max-time 30 --cacert "$bed/pki/ca.crt" --cert "$bed/pki/admin.crt" --key "$bed/pki/admin.key" \
    --header 'Content-Type: application/json' --data-binary @- "https://127.0.0.1:$(< "$bed/port")$1" > /dev/null
}
SYSTEM=namespaces/kymaros-system

# phase PATH: status.phase of an object.
phase() { api "$1" | sed -n 's/^    "phase": "\([^"]*\)",\?$/\1/p'; }

# until_ok SECONDS COMMAND...: tries the command until it succeeds.
until_ok() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@" > /dev/null 2>&1; do
    [ "$SECONDS" -lt "$deadline" ] || {
      echo "not within the time: $*" >&2
      return 1
    }
    sleep 0.5
  done
}

run_id() { api "/apis/coordination.k8s.io/v1/$SYSTEM/leases/$TEST" | sed -n 's/^ *"kymaros.io\/run": "\([^"]*\)",\?$/\1/p' | head -n 1; }

# restore: the name of the run's Restore, once it is there.
restore() {
  local run
  has_restore() { run=$(run_id) && [ -n "$run" ] && api "/apis/velero.io/v1/namespaces/$VELERO/restores/kymaros-$run"; }
  until_ok 90 has_restore
  echo "kymaros-$run"
}

# sandbox [SOURCE]: the name of the run's sandbox, once its Restore is there.
sandbox() {
  restore > /dev/null
  k get namespace -l "kymaros.io/run=$(run_id),kymaros.io/source-namespace=${1:-$NS}" -o 'jsonpath={.items[0].metadata.name}'
}

restore_phase() { phase "/apis/velero.io/v1/namespaces/$VELERO/restores/$(restore)"; }

# restored: returns once the Restore has ended.
restored() {
  over() { [[ "$(restore_phase)" =~ ^(Completed|PartiallyFailed|Failed)$ ]]; }
  until_ok 120 over
}

# runner: the name of the run's pod.
runner() { k -n kymaros-system get pod -l "job-name=$JOB" -o 'jsonpath={.items[0].metadata.name}'; }

# says SECONDS TEXT: returns once the run's log holds the text.
says() {
  local pod
  log_says() { pod=${pod:-$(runner)} && api "/api/v1/$SYSTEM/pods/$pod/log" | grep -F "$2" > /dev/null; }
  until_ok "$1" log_says "$@"
}

# config_maps COUNT: so many ConfigMaps in the source namespace. Velero restores about 35 a second.
config_maps() {
  for i in $(seq "$1"); do
    printf -- '---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: many-%s, namespace: %s}\ndata: {n: "%s"}\n' "$i" "$NS" "$i"
  done | k create -f - > /dev/null
}

# compare_with_source [NAMESPACE]: the component of that name, as kustomize makes it for this test and one of its namespaces.
compare_with_source() {
  sed "s/namespace: copied-from-the-restoretest/namespace: ${1:-$NS}/; s/\.copied-from-the-restoretest/.$TEST/" \
    kustomize/components/compare-with-source/rights/rights.yaml | k apply -f - > /dev/null
}

# another_backup NAME PHASE [SPEC as JSON]: one more backup of the same namespace, which must end in that phase.
another_backup() {
  k create -f - <<Y
{"apiVersion": "velero.io/v1", "kind": "Backup", "metadata": {"name": "$1", "namespace": "$VELERO"},
 "spec": $(jq -n --arg ns "$NS" --argjson spec "${3:-"{}"}" '{includedNamespaces: [$ns], ttl: "24h0m0s"} + $spec')}
Y
  ended() { [ "$(phase "/apis/velero.io/v1/namespaces/$VELERO/backups/$1")" = "$2" ]; }
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

# went_away [TIMES]: the API server was away so often (once) from the run that has just ended. Otherwise not all was tried.
went_away() {
  local times
  times=$(grep -c '"away":true' "build/test-logs/scenarios/$JOB.requests" || true)
  [ "$times" = "${1:-1}" ] || {
    echo "the API server was away $times times" >&2
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

# killed: SIGKILL to the run at the moment its `outage` begins, when the API server has done what it was asked and nobody has said
# so; a run that ends before that is let be.
killed() {
  struck() {
    grep -q '"away":true' "build/test-logs/scenarios/$JOB.requests" || job_over "$JOB"
  }
  until_ok 240 struck
  if grep -q '"away":true' "build/test-logs/scenarios/$JOB.requests"; then tests/cluster/kill kymaros-system "$(runner)" kymaros-runner; fi
}

# swept: one sweep now, to its end, with its log beside those of the runs.
swept() {
  local job=$JOB-sweep-$RANDOM
  k -n kymaros-system create job "$job" --from=cronjob/kymaros-sweep > /dev/null
  k -n kymaros-system label job "$job" "kymaros.io/test=$TEST" > /dev/null
  k -n kymaros-system wait --for=condition=Complete "job/$job" --timeout=90s > /dev/null
  k -n kymaros-system logs "job/$job" > "build/test-logs/scenarios/$job.log"
}

# nothing_left: of no run of this test, wherever runs make something.
nothing_left() {
  local left runs
  left=$(k get namespaces,leases,configmaps,restores.velero.io,downloadrequests.velero.io,serverstatusrequests.velero.io -A -l "kymaros.io/test=$TEST" -o name
    k -n kymaros-system get lease "$TEST" -o name --ignore-not-found
    k -n "$VELERO" get lease kymaros-turn -o name --ignore-not-found)
  runs=$(k -n kymaros-system get rr -l "kymaros.io/test=$TEST" -o json | jq -r '[.items[].status.runId | "-kymaros-" + . + "$"] | join("|")')
  gone() { ! k get persistentvolumes -o json | jq -e --arg runs "$runs" 'any(.items[]; .spec.claimRef.namespace // "" | test($runs))' > /dev/null; }
  until_ok 30 gone || left="$left volumes of $runs"
  [ -z "$left" ] || { echo "left behind: $left" >&2; return 1; }
}

# interrupted COUNT: so many reports of this test were completed for runs that had died.
interrupted() {
  local count
  count=$(k -n kymaros-system get rr -l "kymaros.io/test=$TEST" -o json |
    jq '[.items[].status.conditions[]? | select(.type == "Conclusive" and .reason == "Interrupted")] | length')
  [ "$count" = "$1" ] || { echo "$count reports of runs that died, not $1" >&2; return 1; }
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
  runs() { api "/apis/apps/v1/namespaces/$sandbox/deployments/inside" | grep '^ *"availableReplicas": 1,\?$' > /dev/null; }
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
    (timeout 4 bash -c ": < /dev/tcp/${to%:*}/${to##*:}" && echo "$to") 2> /dev/null &
  done; wait' - "$@" | sort
}

# lines TEXT...: one a line, in order.
lines() { printf '%s\n' "$@" | sort; }

# job_over NAME: whether a Job of the runner's namespace has ended.
job_over() { api "/apis/batch/v1/$SYSTEM/jobs/$1" | grep -E '^ *"type": "(Complete|Failed)",?$' > /dev/null; }

# finished: returns once the run's Job has ended.
finished() { until_ok 240 job_over "$JOB"; }

#!/usr/bin/env python3
"""NetworkPolicy for a one-node cluster: no network plugin that enforces policies is to be had as an ordinary package.

It watches pods, namespaces and NetworkPolicies, and loads one nftables table in a single transaction when what they say
has changed. The `ptp` plugin routes pod-to-pod traffic, so it passes the forward hook; what the node itself sends (the
kubelet's probes) does not, as the API demands. A pod whose address is not known yet can neither send nor receive: its
policies might forbid it. IPv4 only; a policy acts on new connections.

    netpol.py SERVER_HOST SERVER_PORT PKI_DIR POD_CIDR      (inside the cluster's network namespace, with admin.crt in PKI_DIR)
"""
import http.client
import json
import ssl
import subprocess
import sys
import threading
import time

TABLE = "netpol"
WATCH_SECONDS = 240
# Events come in bursts, when a Deployment makes its pods: one load answers all of them.
SETTLE_SECONDS = 0.02


class Watched(threading.Thread):
    """Keeps the objects of one kind as the API server has them, and says when they change."""

    def __init__(self, connect, path, changed):
        super().__init__(daemon=True)
        self.connect, self.path, self.changed = connect, path, changed
        self.objects, self.ready = {}, threading.Event()

    def request(self, query):
        connection = self.connect()
        connection.request("GET", f"{self.path}?{query}")
        answer = connection.getresponse()
        if answer.status != 200:
            raise OSError(f"{self.path}: HTTP {answer.status}")
        return connection, answer

    def run(self):
        while True:
            try:
                self.list_and_watch()
            except (OSError, http.client.HTTPException, ValueError) as error:
                print("will retry:", self.path, error, flush=True)
                time.sleep(0.5)

    def list_and_watch(self):
        connection, answer = self.request("")
        listed = json.load(answer)
        connection.close()
        self.objects = {item["metadata"]["uid"]: item for item in listed["items"]}
        self.ready.set()
        self.changed.set()
        version = listed["metadata"]["resourceVersion"]
        while True:
            query = f"watch=1&allowWatchBookmarks=true&resourceVersion={version}&timeoutSeconds={WATCH_SECONDS}"
            connection, answer = self.request(query)
            for line in answer:
                event = json.loads(line)
                item = event["object"]
                if event["type"] == "ERROR":
                    connection.close()
                    return  # too old: list again
                version = item["metadata"]["resourceVersion"]
                if event["type"] == "BOOKMARK":
                    continue
                objects = dict(self.objects)
                if event["type"] == "DELETED":
                    objects.pop(item["metadata"]["uid"], None)
                else:
                    objects[item["metadata"]["uid"]] = item
                self.objects = objects
                self.changed.set()
            connection.close()


def matches(selector, labels):
    """A LabelSelector against a label map; the empty selector matches everything."""
    labels = labels or {}
    if any(labels.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    for term in selector.get("matchExpressions") or []:
        have, values = labels.get(term["key"]), term.get("values") or []
        holds = {"In": have in values, "NotIn": have not in values, "Exists": have is not None, "DoesNotExist": have is None}
        if not holds[term["operator"]]:
            return False
    return True


def addresses(peers, policy_namespace, pods, namespaces):
    """(address or CIDR, exceptions) of each peer; None means anyone."""
    if not peers:
        return None
    found = []
    for peer in peers:
        if "ipBlock" in peer:
            if ":" in peer["ipBlock"]["cidr"]:
                continue  # of IPv6, which no pod here has
            found.append((peer["ipBlock"]["cidr"], peer["ipBlock"].get("except") or []))
            continue
        for pod in pods:
            if "namespaceSelector" in peer:
                if not matches(peer["namespaceSelector"], namespaces.get(pod["namespace"])):
                    continue
            elif pod["namespace"] != policy_namespace:
                continue
            if matches(peer.get("podSelector") or {}, pod["labels"]):
                found.append((pod["ip"], []))
    return found


def port_matches(rule_ports, target):
    """The ports of a rule for nft; a port's name means what the pod at the receiving end calls so."""
    if not rule_ports:
        return [""]
    found = []
    for entry in rule_ports:
        protocol, port = (entry.get("protocol") or "TCP").lower(), entry.get("port")
        if port is None:
            found.append(f"meta l4proto {protocol}")
        elif isinstance(port, int):
            found.append(f"{protocol} dport {port}" + (f"-{entry['endPort']}" if entry.get("endPort") else ""))
        elif target and (port, protocol) in target["ports"]:
            found.append(f"{protocol} dport {target['ports'][port, protocol]}")
    return found


def pod_chain(pod, direction, policies, pods, namespaces):
    """The rules of one pod in one direction; None if no policy selects it."""
    key, peer_key, other = ("ingress", "from", "saddr") if direction == "Ingress" else ("egress", "to", "daddr")
    selected = [
        policy for policy in policies
        if policy["metadata"]["namespace"] == pod["namespace"]
        and direction in (policy["spec"].get("policyTypes") or ["Ingress"])
        and matches(policy["spec"].get("podSelector") or {}, pod["labels"])
    ]
    if not selected:
        return None
    rules = []
    for policy in selected:
        for rule in policy["spec"].get(key) or []:
            peers = addresses(rule.get(peer_key), pod["namespace"], pods, namespaces)
            for address, exceptions in [("", [])] if peers is None else peers:
                if direction == "Ingress":
                    targets = [pod]
                else:
                    targets = [peer for peer in pods if peer["ip"] == address] or [None]
                for target in targets:
                    for port in port_matches(rule.get("ports"), target):
                        where = f"ip {other} {address} " if address else ""
                        but = f"ip {other} != {{ {', '.join(exceptions)} }} " if exceptions else ""
                        rules.append(f"    {where}{but}{port} return\n")
    return "".join(rules) + "    counter drop\n"


def ruleset(pods, namespaces, policies, cidr):
    """The whole table as nft reads it."""
    chains, jumps = [], {"saddr": [], "daddr": []}
    for direction, side in (("Ingress", "daddr"), ("Egress", "saddr")):
        for pod in pods:
            rules = pod_chain(pod, direction, policies, pods, namespaces)
            if rules is not None:
                name = f"{direction.lower()}_{pod['ip'].replace('.', '_')}"
                chains.append(f"  chain {name} {{\n{rules}  }}\n")
                jumps[side].append(f"{pod['ip']} : jump {name}")
    verdicts = {side: f"    ip {side} vmap {{ {', '.join(found)} }}\n" if found else "" for side, found in jumps.items()}
    known = ", ".join(sorted(pod["ip"] for pod in pods)) or "0.0.0.0"
    unknown = {side: f"    ip {side} {cidr} ip {side} != {{ {known} }} counter drop\n" for side in jumps}

    def hook(name, rules):
        established = "    ct state established,related accept\n"
        return f"  chain {name} {{\n    type filter hook {name} priority filter; policy accept;\n{established}{rules}  }}\n"

    return (
        f"table inet {TABLE}\ndelete table inet {TABLE}\ntable inet {TABLE} {{\n" + "".join(chains)
        + hook("forward", unknown["saddr"] + unknown["daddr"] + verdicts["saddr"] + verdicts["daddr"])
        # Pods that call the node, where the API server listens.
        + hook("input", unknown["saddr"] + verdicts["saddr"]) + "}\n"
    )


def pod_facts(pod):
    """What the rules need of a pod; None if it has no address of its own (now)."""
    status, spec = pod.get("status") or {}, pod["spec"]
    if not status.get("podIP") or spec.get("hostNetwork") or status.get("phase") not in ("Pending", "Running"):
        return None
    ports = {
        (port["name"], (port.get("protocol") or "TCP").lower()): port["containerPort"]
        for container in spec["containers"] for port in container.get("ports") or [] if "name" in port
    }
    metadata = pod["metadata"]
    return {"namespace": metadata["namespace"], "labels": metadata.get("labels"), "ip": status["podIP"], "ports": ports}


def main():
    host, port, pki, cidr = sys.argv[1:]
    context = ssl.create_default_context(cafile=f"{pki}/ca.crt")
    context.load_cert_chain(f"{pki}/admin.crt", f"{pki}/admin.key")

    def connect():
        return http.client.HTTPSConnection(host, int(port), context=context, timeout=WATCH_SECONDS + 30)

    changed = threading.Event()
    paths = ("/api/v1/pods", "/api/v1/namespaces", "/apis/networking.k8s.io/v1/networkpolicies")
    pods, namespaces, policies = (Watched(connect, path, changed) for path in paths)
    for watched in (pods, namespaces, policies):
        watched.start()
    for watched in (pods, namespaces, policies):
        watched.ready.wait()
    loaded = None
    while True:
        changed.wait()
        time.sleep(SETTLE_SECONDS)
        changed.clear()
        labels = {item["metadata"]["name"]: item["metadata"].get("labels") for item in namespaces.objects.values()}
        facts = [found for found in map(pod_facts, pods.objects.values()) if found]
        rules = ruleset(facts, labels, list(policies.objects.values()), cidr)
        if rules == loaded:
            continue
        done = subprocess.run(["nft", "-f", "-"], input=rules.encode(), capture_output=True, check=False)
        if done.returncode:
            print("will retry: nft:", done.stderr.decode(), flush=True)
            time.sleep(0.5)
            changed.set()
            continue
        loaded = rules
        print(f"loaded {rules.count('chain ') - 2} pod chains for {len(facts)} pods", flush=True)


if __name__ == "__main__":
    main()

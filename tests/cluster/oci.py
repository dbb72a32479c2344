#!/usr/bin/env python3
"""Writes an OCI image archive with a single layer: no daemon, no registry, no other tool.

    oci.py OUT.tar NAME:TAG [--entrypoint WORD]... [--cmd WORD]... [--root ROOT.tar] [ITEM]...

ITEM is one of DEST=FILE, link:DEST=TARGET, dir:DEST, text:DEST=TEXT. The layer is ROOT.tar as it is (with --root), or made
from the items. It is not compressed: these images travel only from one folder of a machine to another.
The same input gives the same bytes.
"""
import argparse
import hashlib
import io
import json
import os
import tarfile
import tempfile

CREATED = "2026-01-01T00:00:00Z"
MEDIA = "application/vnd.oci.image."


def layer_from_items(path, items):
    made = {""}
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:

        def folder(name):
            name = name.strip("/")
            if name in made:
                return
            folder(os.path.dirname(name))
            made.add(name)
            info = tarfile.TarInfo(name)
            info.type, info.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755
            tar.addfile(info)

        for item in items:
            kind, _, rest = item.partition(":") if item.startswith(("dir:", "link:", "text:")) else ("file", "", item)
            dest, _, value = rest.partition("=")
            if kind == "dir":
                folder(dest)
                continue
            folder(os.path.dirname(dest))
            info = tarfile.TarInfo(dest.strip("/"))
            if kind == "link":
                info.type, info.linkname, info.mode = tarfile.SYMTYPE, value, 0o777
                tar.addfile(info)
            elif kind == "text":
                data = value.encode().decode("unicode_escape").encode()
                info.size, info.mode = len(data), 0o644
                tar.addfile(info, io.BytesIO(data))
            else:
                info.size, info.mode = os.path.getsize(value), 0o755 if os.access(value, os.X_OK) else 0o644
                with open(value, "rb") as data:
                    tar.addfile(info, data)


def digest(path):
    with open(path, "rb") as data:
        return "sha256:" + hashlib.file_digest(data, "sha256").hexdigest()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("out")
    parser.add_argument("name")
    parser.add_argument("--entrypoint", action="append")
    parser.add_argument("--cmd", action="append")
    parser.add_argument("--root")
    parser.add_argument("items", nargs="*")
    args = parser.parse_intermixed_args()
    with tempfile.NamedTemporaryFile(dir=os.path.dirname(os.path.abspath(args.out))) as made:
        layer = args.root or made.name
        if not args.root:
            layer_from_items(layer, args.items)
        layer_digest = digest(layer)
        blobs = {}

        def blob(media, content):
            data = json.dumps(content).encode()
            name = "sha256:" + hashlib.sha256(data).hexdigest()
            blobs[name] = data
            return {"mediaType": MEDIA + media, "digest": name, "size": len(data)}

        config = blob("config.v1+json", {
            "created": CREATED, "architecture": "amd64", "os": "linux",
            "config": {"Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
                       "Entrypoint": args.entrypoint, "Cmd": args.cmd, "WorkingDir": "/"},
            "rootfs": {"type": "layers", "diff_ids": [layer_digest]}})
        manifest = blob("manifest.v1+json", {
            "schemaVersion": 2, "mediaType": MEDIA + "manifest.v1+json", "config": config,
            "layers": [{"mediaType": MEDIA + "layer.v1.tar", "digest": layer_digest, "size": os.path.getsize(layer)}]})
        manifest["annotations"] = {"io.containerd.image.name": args.name, "org.opencontainers.image.ref.name": args.name.rsplit(":", 1)[-1]}
        index = {"schemaVersion": 2, "mediaType": MEDIA + "index.v1+json", "manifests": [manifest]}
        with tarfile.open(args.out, "w") as tar:

            def add(name, data, size):
                info = tarfile.TarInfo(name)
                info.size, info.mode = size, 0o644
                tar.addfile(info, data)

            add("oci-layout", io.BytesIO(b'{"imageLayoutVersion":"1.0.0"}'), 30)
            data = json.dumps(index).encode()
            add("index.json", io.BytesIO(data), len(data))
            for name, data in blobs.items():
                add("blobs/sha256/" + name[7:], io.BytesIO(data), len(data))
            with open(layer, "rb") as data:
                add("blobs/sha256/" + layer_digest[7:], data, os.path.getsize(layer))


if __name__ == "__main__":
    main()

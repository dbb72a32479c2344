# shellcheck shell=bash
# What a bed is made of. Each component has its own folder in the cache, named after a hash of all that determines
# it, so that a change rebuilds that component and no other.

# Components compiled with Go, and the images made from them; what a stronger mode needs beyond the weaker ones.
modules_of() {
  case $1 in
    api) echo kubernetes etcd ;;
    node) echo "$(modules_of api)" containerd coredns local-path tools ;;
    velero) echo "$(modules_of node)" velero s3 ;;
  esac
}
images_of() {
  case $1 in
    api) ;;
    node) echo pause busybox httpd coredns local-path-provisioner ;;
    velero) echo "$(images_of node)" versitygw velero velero-plugin-for-aws debian-apps ;;
  esac
}

GO_RELEASE=1.26
GO_PINNED=go1.26.8
KUBERNETES=1.36.3
VELERO=1.18.3

# Kubernetes and Velero read their own version from variables that only the linker sets.
ldflags_of() {
  local version=k8s.io/component-base/version
  case $1 in
    kubernetes) echo "-s -w -X $version.gitVersion=v$KUBERNETES -X $version.gitMajor=1 -X $version.gitMinor=36" ;;
    velero) echo "-s -w -X github.com/vmware-tanzu/velero/pkg/buildinfo.Version=v$VELERO" ;;
    *) echo "-s -w" ;;
  esac
}

# The module that pins a component: the volumes' provisioner shares Velero's, and so most of what is compiled for it.
source_of() { if [ "$1" = local-path ]; then echo velero; else echo "$1"; fi; }

# What `go build` is asked for: the module's own programs, or those its go.mod names as tools.
packages_of() {
  case $1 in
    coredns) echo . ;;
    tools) echo ./... ;;
    local-path) echo github.com/rancher/local-path-provisioner ;;
    velero)
      echo github.com/vmware-tanzu/velero/cmd/velero github.com/vmware-tanzu/velero/cmd/velero-restore-helper
      echo github.com/vmware-tanzu/velero-plugin-for-aws/velero-plugin-for-aws
      ;;
    *) echo tool ;;
  esac
}

# Go 1.27 makes a kube-apiserver with a wrong OpenAPI document, and older ones cannot read these modules.
choose_go() {
  command -v go > /dev/null || die "no Go toolchain: the test bed is compiled with Go $GO_RELEASE (https://go.dev/dl/)"
  export GOFLAGS="-mod=readonly -buildvcs=false" GOWORK=off CGO_ENABLED=0 GOTOOLCHAIN=local
  unset GOOS GOARCH GOEXPERIMENT
  GO_VERSION=$(go env GOVERSION)
  case $GO_VERSION in "go$GO_RELEASE" | "go$GO_RELEASE".*) return ;; esac
  export GOTOOLCHAIN=$GO_PINNED
  GO_VERSION=$(go env GOVERSION 2> /dev/null) \
    || die "Go $GO_RELEASE is needed, $(GOTOOLCHAIN=local go env GOVERSION) is here, and $GO_PINNED could not be fetched"
}

short_hash() { sha256sum | cut -c1-12; }

# The folder of a component's programs (needs choose_go).
module_dir() {
  local key
  key=$({
    echo "$GO_VERSION" "$(uname -m)" "$(ldflags_of "$1")" "$(packages_of "$1")"
    cd "$HERE/modules/$(source_of "$1")" && find . -type f | LC_ALL=C sort | xargs sha256sum
  } | short_hash)
  echo "$BIN/$1-$key"
}

# image_recipe NAME: sets RECIPE to the arguments of oci.py, IMAGE to the image's name.
image_recipe() {
  local users='text:/etc/passwd=root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n' applet
  IMAGE=registry.local/$1:1
  case $1 in
    pause) RECIPE=(--entrypoint /pause "/pause=$(module_dir tools)/pause") ;;
    httpd) RECIPE=(--entrypoint /httpd "/httpd=$(module_dir tools)/httpd") ;;
    coredns) RECIPE=(--entrypoint /coredns "/coredns=$(module_dir coredns)/coredns") ;;
    versitygw) RECIPE=(--entrypoint /versitygw "/versitygw=$(module_dir s3)/versitygw") ;;
    local-path-provisioner) RECIPE=(--entrypoint "/$1" "/$1=$(module_dir local-path)/$1") ;;
    velero)
      IMAGE=registry.local/$1:v$VELERO
      RECIPE=(--entrypoint /velero dir:/scratch)
      for applet in velero velero-restore-helper; do RECIPE+=("/$applet=$(module_dir velero)/$applet"); done
      ;;
    velero-plugin-for-aws) # runs as an init container that hands the plugin to the server
      RECIPE=("/plugins/$1=$(module_dir velero)/$1" /bin/busybox=/bin/busybox
        --entrypoint /bin/busybox --entrypoint cp --entrypoint "/plugins/$1" --entrypoint "/target/$1")
      ;;
    busybox)
      RECIPE=(--cmd /bin/sh /bin/busybox=/bin/busybox)
      for applet in $(busybox --list); do
        [ "$applet" = busybox ] || RECIPE+=("link:/bin/$applet=busybox")
      done
      ;;
    debian-apps | debian-servers)
      RECIPE=()
      return
      ;;
    *) die "no such image: $1" ;;
  esac
  RECIPE+=("$users" dir:/tmp dir:/root dir:/home)
}

# The script that makes an image's root file system, where that is a whole Debian.
debian_root_of() { if [ "$1" = debian-apps ]; then echo "$HERE/debian-root"; else echo "$HERE/$1"; fi; }

# The folder of an image's archive, which is called image.tar (after image_recipe).
image_dir() {
  local key
  key=$({
    printf '%s\n' "$IMAGE" "${RECIPE[@]#"$BIN"}" | sed "s#$BIN##"
    sha256sum < "$HERE/oci.py"
    case $1 in
      debian-apps | debian-servers) sha256sum < "$(debian_root_of "$1")" ;;
      busybox | velero-plugin-for-aws) sha256sum < /bin/busybox ;;
    esac
  } | short_hash)
  echo "$BIN/image-$1-$key"
}

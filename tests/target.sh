# shellcheck shell=bash
# Where Rust's build products go: outside the checkout, so that a fresh clone in the same place need not compile what has not
# changed; and per place, because two checkouts of one package must not take each other's products for their own.
export HOME=${HOME:-/root} # Go and Cargo need one
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/kymaros-runner
PLACE=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$CACHE/target/$(printf '%s' "$PLACE" | sha256sum | cut -c1-12)}

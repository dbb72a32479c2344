# shellcheck shell=bash
# Rust as rust-toolchain.toml asks for it, run from the checkout. rustup may have been told to install nothing by itself
# (RUSTUP_AUTO_INSTALL=0), and may know the toolchain from before the file named a target or a component: what is missing is asked for.

# rust COMPONENT...: cargo works, and has these (clippy, rustfmt).
rust() {
  local channel component command
  channel=$(sed -n 's/^channel = "\(.*\)"/\1/p' rust-toolchain.toml)
  if ! cargo --version > /dev/null 2>&1; then
    command -v rustup > /dev/null || {
      echo "Rust $channel is needed, and there is neither cargo nor rustup here (https://rustup.rs)" >&2
      return 1
    }
    echo "fetching Rust $channel"
    rustup toolchain install "$channel" --profile minimal --no-self-update || return
  fi
  for component in "$@"; do
    command=${component/rustfmt/fmt}
    cargo "$command" --version > /dev/null 2>&1 || rustup component add "$component" || return
  done
}

has_target() { compgen -G "$(rustc --print target-libdir --target "$1")/libcore-*.rlib" > /dev/null; }

# static_target: sets TARGET to what a static binary is built for, and STATIC_FLAGS to what rustc has to be told for it. musl, whose
# target rustup may add; where it cannot, the machine's own target with its C library linked in.
static_target() {
  TARGET=$(uname -m)-unknown-linux-musl STATIC_FLAGS=
  has_target "$TARGET" && return
  echo "adding Rust's target $TARGET"
  if command -v rustup > /dev/null && rustup target add "$TARGET" && has_target "$TARGET"; then return; fi
  local musl=$TARGET
  TARGET=$(rustc -vV | sed -n 's/^host: //p') STATIC_FLAGS="-C target-feature=+crt-static"
  echo "the target $musl is not to be had here: building a static binary for $TARGET instead"
}

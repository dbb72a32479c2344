# The image: one static binary on an empty base, not run as root.
#
#   docker build -t kymaros-runner:0.1.0 .
#
# compiles inside the build, with any builder and nothing else installed. `make image` compiles outside, with the cargo of this
# machine and its caches, and passes BINARY=prebuilt; what comes out is the same.
ARG BINARY=compiled

FROM rust:1.95-alpine AS compiled
RUN apk add --no-cache musl-dev gcc
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY src src
RUN cargo build --locked --release && cp target/release/kymaros-runner /kymaros-runner

FROM scratch AS prebuilt
COPY build/kymaros-runner /kymaros-runner

FROM ${BINARY} AS binary

FROM scratch
COPY --from=binary /kymaros-runner /kymaros-runner
USER 65532:65532
ENTRYPOINT ["/kymaros-runner"]

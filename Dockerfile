# The one image with all of Evergrant's programs; which of them runs is the command's business.
#
#   docker build -t evergrant .                           builds the programs inside
#   docker build --target prebuilt -f Dockerfile DIR      takes the programs from the folder DIR
#
# `prebuilt` stands before any `FROM rust`, so that where that image cannot be had (no registry, a builder
# that goes through the stages in order) it is never asked for.
ARG BASE_IMAGE=debian:bookworm-slim
ARG RUST_IMAGE=rust:1-bookworm

FROM ${BASE_IMAGE} AS runtime
# What providers' certificates are checked against. A base that has them needs no network here.
RUN [ -e /etc/ssl/certs/ca-certificates.crt ] \
    || (apt-get update \
        && apt-get install -y --no-install-recommends ca-certificates \
        && rm -rf /var/lib/apt/lists/*)
# A number, because Kubernetes' runAsNonRoot can't tell who a name is.
RUN groupadd --gid 10001 evergrant \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin evergrant
# A volume that is mounted here belongs to whom this belongs to.
RUN install -d -o 10001 -g 10001 -m 700 /var/lib/evergrant
USER 10001:10001
WORKDIR /
# /healthz, /readyz and /metrics.
EXPOSE 9464

FROM runtime AS prebuilt
COPY evergrant evergrant-producer evergrant-worker evergrant-gateway evergrant-simulator /usr/local/bin/
CMD ["evergrant", "--help"]

FROM ${RUST_IMAGE} AS build
WORKDIR /src
COPY . .
# One by one: in one build for all, the features that the tests' crates want would be the programs' too.
RUN for program in evergrant evergrant-producer evergrant-worker evergrant-gateway evergrant-simulator; do \
        cargo build --profile dist --locked --package "$program" --bin "$program" || exit 1; \
    done

FROM runtime
COPY --from=build \
    /src/target/dist/evergrant \
    /src/target/dist/evergrant-producer \
    /src/target/dist/evergrant-worker \
    /src/target/dist/evergrant-gateway \
    /src/target/dist/evergrant-simulator \
    /usr/local/bin/
CMD ["evergrant", "--help"]

